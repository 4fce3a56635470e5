// Mails move between folders; what was done to one is seen in the folder it went to.
"use strict";

const PEOPLE = ["Ana", "Bo", "Cleo", "Dan", "Eva", "Finn"];
const state = load();

function folder(name) {
  const mails = state.mails.map((mail, id) => ({ ...mail, id })).filter((m) => m.folder === name);
  const lines = mails.map((mail) => [
    name === "Inbox"
      ? make("a", { href: `read.html?id=${mail.id}` }, `${mail.from}: ${mail.subject}`)
      : `${mail.from}: ${mail.subject}`,
  ]);
  show(list(lines, "There are no mails."));
}

function read() {
  const mail = state.mails[Number(query("id"))];
  if (!mail) return show(make("p", {}, "There is no such mail."));
  const moveTo = (name) => () => {
    mail.folder = name;
    save(state);
    done("done.html");
  };
  show(
    make("p", {}, `From ${mail.from}: ${mail.subject}`),
    make("p", {}, button("Archive it", moveTo("Archive")), " ", button("Delete it", moveTo("Bin"))),
  );
}

function write() {
  const to = choice("To", "to", PEOPLE, PEOPLE[0]);
  const subject = make("label", {}, "Subject ", make("input", { name: "subject" }));
  const send = button("Send", () => {
    const values = [to, subject].map((label) => label.querySelector("select, input").value.trim());
    if (!values[1]) return;
    state.sent.push({ to: values[0], subject: values[1] });
    save(state);
    done("done.html");
  });
  show(to, subject, make("p", {}, send));
}

function sent() {
  show(list(state.sent.map((mail) => `To ${mail.to}: ${mail.subject}`), "Nothing was sent."));
}

function finished() {
  show(make("p", {}, "It is done."));
}
