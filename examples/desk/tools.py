"""The tools of the library desk; the rules that only the policy text states are not enforced."""

from agentrl import tool
from agentrl.environments.simulated import Service
from agentrl.tools import ToolError


class Tools(Service):
    members: dict
    books: dict

    @tool
    async def find_member(self, name: str) -> dict:
        """Look a member up by name.

        Args:
            name: first or full name.
        """
        for key, member in self.members.items():
            if name.lower() in member["name"].lower():
                return {"member": key, **member}
        raise ToolError(f"no member is called {name!r}")

    @tool
    async def find_book(self, title: str) -> dict:
        """Look a book up by its title.

        Args:
            title: all of it or a part.
        """
        for key, book in self.books.items():
            if title.lower() in book["title"].lower():
                return {"book": key, **book}
        raise ToolError(f"no book has {title!r} in its title")

    @tool
    async def lend(self, member: str, book: str) -> str:
        """Lend a book for 28 days.

        Args:
            member: the member's key, such as m1.
            book: the book's key, such as b3.
        """
        if not self._book(book)["available"]:
            raise ToolError("the book is not here")
        self._member(member)["loans"][book] = 28
        self.books[book]["available"] = False
        return "lent for 28 days"

    @tool
    async def renew(self, member: str, book: str) -> str:
        """Add 14 days to a loan.

        Args:
            member: the member's key.
            book: the book's key.
        """
        loans = self._member(member)["loans"]
        if book not in loans:
            raise ToolError("the member does not have this book")
        loans[book] += 14
        return f"{loans[book]} days left"

    @tool
    async def give_back(self, member: str, book: str) -> str:
        """Take a book back.

        Args:
            member: the member's key.
            book: the book's key.
        """
        if self._member(member)["loans"].pop(book, None) is None:
            raise ToolError("the member does not have this book")
        self.books[book]["available"] = True
        return "taken back"

    @tool
    async def take_payment(self, member: str, amount: int) -> str:
        """Take a payment towards a member's fee.

        Args:
            member: the member's key.
            amount: whole units, positive.
        """
        owed = self._member(member)["fee"]
        if not 0 < amount <= owed:
            raise ToolError(f"the fee is {owed}")
        self.members[member]["fee"] -= amount
        return f"{owed - amount} left to pay"

    def _member(self, key: str) -> dict:
        if key not in self.members:
            raise ToolError(f"no member has the key {key!r}")
        return self.members[key]

    def _book(self, key: str) -> dict:
        if key not in self.books:
            raise ToolError(f"no book has the key {key!r}")
        return self.books[key]
