// Choices take effect when they are saved; the overview says what holds.
"use strict";

const CHOICES = {
  Language: ["English", "Danish", "Greek", "Polish"],
  Theme: ["Light", "Dark", "Sepia"],
  Size: ["Small", "Medium", "Large"],
  Sound: ["On", "Off"],
};
const state = load();

function change() {
  const labels = Object.entries(CHOICES).map(([name, options]) =>
    choice(name, name, options, state.settings[name]),
  );
  const keep = button("Save", () => {
    for (const label of labels) {
      const select = label.querySelector("select");
      state.settings[select.name] = select.value;
    }
    save(state);
    done("saved.html");
  });
  show(...labels, make("p", {}, keep));
}

function overview() {
  show(list(Object.entries(state.settings).map(([name, value]) => `${name}: ${value}`), ""));
}

function saved() {
  show(make("p", {}, "Your choices are saved."));
}
