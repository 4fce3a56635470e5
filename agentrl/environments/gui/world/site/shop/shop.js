// Goods go into a cart, the cart becomes an order; only the orders page says what was ordered.
"use strict";

const GOODS = { "Blue mug": 8, "Red mug": 8, Lamp: 35, Chair: 60, Clock: 25, Notebook: 4 };
const state = load();

function goods() {
  const lines = Object.entries(GOODS).map(([name, price]) => [
    `${name}, ${price} euros`,
    button(`Add ${name}`, () => {
      state.cart[name] = (state.cart[name] ?? 0) + 1;
      save(state);
      count.textContent = `${total()} in the cart`;
    }),
  ]);
  const count = make("p", { role: "status" }, `${total()} in the cart`);
  show(list(lines, ""), count);
}

function total() {
  return Object.values(state.cart).reduce((sum, n) => sum + n, 0);
}

function cart() {
  const lines = Object.entries(state.cart).map(([name, n]) => [
    `${n} x ${name}`,
    button(`Remove ${name}`, () => {
      delete state.cart[name];
      save(state);
      location.reload();
    }),
  ]);
  show(list(lines, "The cart is empty."));
  if (lines.length) show(make("p", {}, button("Order", order)));
}

function order() {
  state.orders.push(state.cart);
  state.cart = {};
  save(state);
  done("thanks.html");
}

function thanks() {
  show(make("p", {}, "Your order is on its way."));
}

function orders() {
  const lines = state.orders.map((order, number) => {
    const parts = Object.entries(order).map(([name, n]) => `${n} x ${name}`);
    return `Order ${number + 1}: ${parts.join(", ")}`;
  });
  show(list(lines, "There are no orders."));
}
