// The listening test: what is asked and in which order, and what was answered. No element is here.

import {Refused} from './refused.js';

const FIELDS = ['id', 'skill', 'question', 'utterances', 'options', 'answer'];

/** Numbers from 0 to 1 by a seed, the same in every browser (Mulberry32). */
function random(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** The items in the order of a seed. */
export function shuffled(items, seed) {
  const order = [...items],
    next = random(seed);
  for (let last = order.length - 1; last > 0; last--) {
    const place = Math.floor(next() * (last + 1));
    [order[last], order[place]] = [order[place], order[last]];
  }
  return order;
}

/** Items of authored YAML, as items.authored reads it, with the files that `utterances` name. */
export async function authored(yaml, text, sounds) {
  let entries;
  try {
    entries = yaml.load(text, {schema: yaml.FAILSAFE_SCHEMA}); // every scalar is the text there
  } catch (error) {
    throw new Refused('no yaml', {reason: error.reason ?? error.message});
  }
  if (!Array.isArray(entries) || !entries.length) throw new Refused('no items');
  const known = new Map(
    sounds.flatMap((file) => [
      [file.name, file],
      [stem(file.name), file],
    ]),
  );
  return entries.map((entry, place) => item(entry, place + 1, known));
}

function item(entry, number, known) {
  const wrong = (reason) => {
    throw new Refused('wrong item', {item: entry?.id ?? number, reason});
  };
  const missing = FIELDS.filter((field) => entry?.[field] === undefined);
  if (missing.length) wrong(missing.join(', '));
  const texts = [entry.id, entry.question, ...[entry.options, entry.utterances].flat()];
  if (texts.some((one) => typeof one !== 'string')) wrong('text');
  const {options, utterances} = entry,
    answer = Number(entry.answer);
  if (!Array.isArray(options) || options.length < 2) wrong('options');
  if (!Number.isInteger(answer) || answer < 0 || answer >= options.length) wrong('answer');
  const absent = [utterances].flat().filter((one) => !known.has(one));
  if (absent.length) throw new Refused('sound missing', {item: entry.id, name: absent.join(', ')});
  const files = [utterances].flat().map((one) => known.get(one));
  return {
    id: entry.id,
    question: entry.question,
    options,
    answer,
    files: async () => files,
    teacher: null,
  };
}

const stem = (name) => name.replace(/\.[^.]*$/, '');

/** One go through a test: the items, where we are, and a row for each answer. */
export class Quiz {
  constructor(items, seed, count) {
    this.items = shuffled(items, seed).slice(0, count);
    Object.assign(this, {seed, place: 0, plays: 0, shown: performance.now(), rows: []});
  }

  get item() {
    return this.items[this.place];
  }

  get done() {
    return this.place >= this.items.length;
  }

  /** Note an answer: the place of the person's option, and what the student answered. */
  note(chosen, {option, probabilities}) {
    const {id, question, options, answer, teacher} = this.item;
    const theirs = teacher && teacher.indexOf(Math.max(...teacher));
    const seconds = (performance.now() - this.shown) / 1000;
    this.rows.push({
      id,
      question,
      options,
      answer,
      chosen,
      seconds,
      plays: this.plays,
      student: option,
      probabilities,
      teacher: theirs,
      teacherShares: teacher,
    });
    return this.rows.at(-1);
  }

  next() {
    Object.assign(this, {place: this.place + 1, plays: 0, shown: performance.now()});
  }

  /** How many of the answers so far are right, of `who`: chosen, student, teacher. */
  right(who) {
    return this.rows.filter((row) => row[who] === row.answer).length;
  }
}

const COLUMNS = [
  'id',
  'question',
  'right',
  'chosen',
  'correct',
  'plays',
  'seconds',
  'student',
  'student_probability',
  'teacher',
  'teacher_probability',
  'name',
  'seed',
];

const MARK = '\ufeff'; // spreadsheets take a file without it for Latin-1

/** The score card as CSV. */
export function csv({rows, seed}, name) {
  const lines = rows.map((row) => {
    const option = (place) => (place === null ? '' : row.options[place]);
    return [
      row.id,
      row.question,
      option(row.answer),
      option(row.chosen),
      +(row.chosen === row.answer),
      row.plays,
      row.seconds.toFixed(1),
      option(row.student),
      row.probabilities[row.student].toFixed(4),
      option(row.teacher),
      row.teacher === null ? '' : row.teacherShares[row.teacher].toFixed(4),
      name,
      seed,
    ];
  });
  return `${MARK}${[COLUMNS, ...lines].map((line) => `${line.map(cell).join(',')}\r\n`).join('')}`;
}

/** A cell in quotes; what a spreadsheet would take for a formula gets a space before it. */
function cell(value) {
  const text = String(value);
  return `"${(/^[=+\-@\t\r]/.test(text) ? ` ${text}` : text).replaceAll('"', '""')}"`;
}
