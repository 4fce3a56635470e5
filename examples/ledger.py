"""A complete environment: book-keeping with two accounts."""

from agentrl import Environment, Task, tool


class Ledger(Environment):
    async def reset(self, task: Task) -> str:
        self.balance = dict(task.payload["balance"])
        return task.prompt

    @tool
    def transfer(self, source: str, target: str, amount: int) -> str:
        """Move money between accounts.

        Args:
            source: account to take from.
            target: account to pay into.
            amount: whole units, positive.
        """
        if not 0 < amount <= self.balance[source]:
            raise ValueError(f"{source} has {self.balance[source]}, cannot pay {amount}")
        self.balance[source] -= amount
        self.balance[target] += amount
        return f"{source}: {self.balance[source]}, {target}: {self.balance[target]}"

    async def finish(self, episode) -> dict:
        return {"balance": self.balance}
