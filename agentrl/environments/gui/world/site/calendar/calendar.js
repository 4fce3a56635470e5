// Events of one week; the week says what stands in it.
"use strict";

const DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday"];
const TIMES = ["9:00", "10:00", "11:00", "14:00", "15:00"];
const state = load();

function week() {
  const events = state.events.map((event, id) => ({ ...event, id }));
  events.sort((a, b) => place(a) - place(b));
  const lines = events.map((event) => [
    make("a", { href: `event.html?id=${event.id}` }, said(event)),
  ]);
  show(list(lines, "There are no events."));
}

function place(event) {
  return DAYS.indexOf(event.day) * TIMES.length + TIMES.indexOf(event.time);
}

function said(event) {
  return `${event.title}, ${event.day} ${event.time}`;
}

function fresh() {
  const title = make("label", {}, "Title ", make("input", { name: "title" }));
  const day = choice("Day", "day", DAYS, DAYS[0]);
  const time = choice("Time", "time", TIMES, TIMES[0]);
  const keep = button("Save", () => {
    const found = [title, day, time].map((l) => l.querySelector("select, input").value.trim());
    if (!found[0]) return;
    state.events.push({ title: found[0], day: found[1], time: found[2] });
    save(state);
    done("done.html");
  });
  show(title, day, time, make("p", {}, keep));
}

function one() {
  const id = Number(query("id"));
  const event = state.events[id];
  if (!event) return show(make("p", {}, "There is no such event."));
  const remove = button("Remove it", () => {
    state.events.splice(id, 1);
    save(state);
    done("done.html");
  });
  show(make("p", {}, said(event)), make("p", {}, remove));
}

function finished() {
  show(make("p", {}, "It is done."));
}
