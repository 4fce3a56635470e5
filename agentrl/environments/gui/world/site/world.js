// What all applications share: one state in localStorage, elements from plain values.
"use strict";

const KEY = "world";

const BEGINNING = {
  cart: {},
  orders: [],
  mails: [],
  sent: [],
  settings: { Language: "English", Theme: "Light", Size: "Medium", Sound: "On" },
  events: [],
};

function load() {
  return { ...structuredClone(BEGINNING), ...JSON.parse(localStorage.getItem(KEY) ?? "{}") };
}

function save(state) {
  localStorage.setItem(KEY, JSON.stringify(state));
}

// make("li", {class: "row"}, "text", element, ...)
function make(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}

function show(...children) {
  document.querySelector("main").append(...children);
}

function list(lines, empty) {
  if (!lines.length) return make("p", {}, empty);
  return make("ul", {}, ...lines.map((line) => make("li", {}, ...[line].flat())));
}

function button(label, click) {
  return make("button", { type: "button", click }, label);
}

function choice(label, name, options, chosen) {
  const items = options.map((o) => make("option", { value: o, selected: o === chosen }, o));
  return make("label", {}, `${label} `, make("select", { name }, ...items));
}

// A page that only says that something was done: what was done stands elsewhere.
function done(page) {
  location.href = page;
}

function query(name) {
  return new URLSearchParams(location.search).get(name);
}
