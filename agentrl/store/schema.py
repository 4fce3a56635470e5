"""The tables of `run.db`."""

from __future__ import annotations

VERSION = 2

# `record` columns hold JSON and are what objects are rebuilt from; the other columns repeat the
# parts that are asked for in queries (SQLite has no NaN and no lone surrogates, JSON has both).
# Version 2 added `replay_log` and `images`; a database of version 1 gets them when next written.
# A task is stored once however many episodes try it: its payload may hold a repository. So is an
# image, under the hash of its bytes; records name it.
TABLES = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);

CREATE TABLE IF NOT EXISTS tasks (
    hash TEXT PRIMARY KEY, id TEXT NOT NULL, record TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS tasks_by_id ON tasks (id);

CREATE TABLE IF NOT EXISTS episodes (
    key INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL, step INTEGER NOT NULL, split TEXT NOT NULL,
    task TEXT NOT NULL, task_hash TEXT NOT NULL REFERENCES tasks (hash),
    status TEXT NOT NULL, cause TEXT NOT NULL, source TEXT NOT NULL, reward REAL,
    turns INTEGER NOT NULL, tokens INTEGER NOT NULL, created REAL NOT NULL,
    record TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS episodes_by_step ON episodes (step, split);
CREATE INDEX IF NOT EXISTS episodes_by_task ON episodes (task);
CREATE INDEX IF NOT EXISTS episodes_by_id ON episodes (id);

CREATE TABLE IF NOT EXISTS turns (
    episode INTEGER NOT NULL REFERENCES episodes (key) ON DELETE CASCADE,
    number INTEGER NOT NULL, finish_reason TEXT NOT NULL,
    tokens BLOB NOT NULL, logprobs BLOB NOT NULL, record TEXT NOT NULL,
    PRIMARY KEY (episode, number)) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS scores (
    episode INTEGER NOT NULL REFERENCES episodes (key) ON DELETE CASCADE,
    number INTEGER NOT NULL, name TEXT NOT NULL, value REAL, abstained INTEGER NOT NULL,
    record TEXT NOT NULL,
    PRIMARY KEY (episode, number)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS scores_by_name ON scores (name);

CREATE TABLE IF NOT EXISTS segments (
    episode INTEGER NOT NULL REFERENCES episodes (key) ON DELETE CASCADE,
    number INTEGER NOT NULL, length INTEGER NOT NULL,
    tokens BLOB NOT NULL, origin BLOB NOT NULL, logprobs BLOB NOT NULL,
    turn BLOB NOT NULL, weights BLOB NOT NULL,
    PRIMARY KEY (episode, number));

CREATE TABLE IF NOT EXISTS images (digest TEXT PRIMARY KEY, data BLOB NOT NULL);

CREATE TABLE IF NOT EXISTS segment_images (
    episode INTEGER NOT NULL REFERENCES episodes (key) ON DELETE CASCADE,
    number INTEGER NOT NULL, segment INTEGER NOT NULL,
    start INTEGER NOT NULL, stop INTEGER NOT NULL,
    digest TEXT NOT NULL, media_type TEXT NOT NULL,
    PRIMARY KEY (episode, number)) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS metrics (
    step INTEGER NOT NULL, name TEXT NOT NULL, value REAL,
    PRIMARY KEY (name, step)) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS failures (
    key INTEGER PRIMARY KEY AUTOINCREMENT,
    step INTEGER NOT NULL, task TEXT NOT NULL, episodes TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS failures_by_task ON failures (task);

CREATE TABLE IF NOT EXISTS replay_log (
    key INTEGER PRIMARY KEY AUTOINCREMENT,
    run TEXT NOT NULL, step INTEGER NOT NULL, event TEXT NOT NULL,
    task TEXT NOT NULL, content TEXT NOT NULL, solved REAL NOT NULL, reward REAL,
    episodes TEXT NOT NULL, created REAL NOT NULL);
CREATE INDEX IF NOT EXISTS replay_log_by_run ON replay_log (run, step);
"""
