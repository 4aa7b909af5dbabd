// The page: its language, its tabs, and the students as they arrive.

import {ask} from './ask.js';
import {packed, unpack} from './assets.js';
import {$, megabytes} from './dom.js';
import {Models} from './models.js';
import {scenes, named} from './scenes.js';
import {fault, guarded} from './source.js';
import {paint} from './spectrogram.js';
import {Test} from './test.js';
import {transcribe} from './transcribe.js';
import {speak, t, wanted} from './words.js';

const page = JSON.parse($('page').textContent); // what the builder put in: see page/__init__.py
const models = new Models($('worker').textContent);
const tabs = [...document.querySelectorAll('[role=tab]')];

/** Clips of the test set of a task, each with its file. */
function clipsOf(task) {
  const own = page.clips.filter((clip) => clip.task === task);
  return own.map((clip) => ({
    ...clip,
    file: async () => {
      const bytes = await unpack(await packed(clip.asset, page.files));
      return new File([bytes], clip.name, {type: 'audio/flac'});
    },
  }));
}

function open(tab, focus = true) {
  for (const one of tabs) {
    one.setAttribute('aria-selected', one === tab);
    one.tabIndex = one === tab ? 0 : -1;
    $(one.getAttribute('aria-controls')).hidden = one !== tab;
  }
  if (focus) tab.focus();
}

function connect() {
  const offered = tabs.filter((tab) => page.tasks.includes(tab.dataset.task));
  for (const tab of tabs) tab.hidden = !offered.includes(tab);
  offered.forEach((tab, place) => {
    tab.onclick = () => open(tab);
    tab.onkeydown = ({key}) => {
      const step = {ArrowRight: 1, ArrowLeft: -1}[key];
      if (step) open(offered[(place + step + offered.length) % offered.length]);
    };
  });
  const asked = offered.find((tab) => tab.getAttribute('aria-controls') === location.hash.slice(1));
  open(asked ?? offered[0], false);
}

/** What is known of a student, in a line. */
const about =
  ({bytes, score, recipe}) =>
  () => {
    const facts = [recipe, megabytes(bytes)];
    if (score) facts.push(t(score.metric, score));
    return facts.join(' · ');
  };

async function load() {
  const bar = $('unpacked'),
    count = page.students.length;
  await models.start(page.files, ({share}) => {
    bar.value = 0.9 * share;
  });
  for (const [place, student] of page.students.entries()) {
    await models.add(
      {...student, about: about(student)},
      {packed: await packed(student.asset, page.files)},
    );
    bar.value = 0.9 + (0.1 * (place + 1)) / count;
    document.dispatchEvent(new Event('loaded'));
  }
  $('loading').hidden = true;
  $('state').textContent = t('ready');
  for (const set of document.querySelectorAll('fieldset.until')) set.disabled = false;
  document.body.dataset.ready = Math.round(performance.now());
}

/** A student of one's own, from a file. */
async function take(file) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  const student = {name: file.name, bytes: bytes.length, recipe: file.name};
  await models.add({...student, about: about(student)}, {bytes});
  document.dispatchEvent(new Event('loaded'));
  $('state').textContent = t('student taken', {name: file.name});
}

connect();
paint(page.colours);
const questions = clipsOf('choice').map((clip) => ({
  ...clip,
  files: async () => [await clip.file()],
}));
const labelled = (task, label) => clipsOf(task).map((clip) => ({...clip, label: label(clip)}));
new Test(models, questions, page.files);
ask(
  models,
  questions.map((clip) => ({...clip, label: clip.question})),
);
scenes(
  models,
  labelled('classes', ({label}) => named(label)),
);
transcribe(
  models,
  labelled('transcript', ({track, transcript}) => `${track}: ${transcript}`),
);
$('language').onchange = () => speak($('language').value);
$('model').onchange = guarded($('about'), () => take($('model').files[0]));
speak(wanted(), page.texts);
load().catch((error) => fault(document.querySelector('header'), error));
