// The score card: what was answered and how often it was played, to print or to keep.

import {h, percent, save} from './dom.js';
import {csv} from './quiz.js';
import {t} from './words.js';

let pupil = ''; // stays from card to card

export function card(quiz) {
  const all = quiz.rows.length,
    hasTeacher = quiz.rows.some(({teacher}) => teacher !== null);
  const whose = ['chosen', 'student', ...(hasTeacher ? ['teacher'] : [])];
  const totals = whose.map((who) =>
    h('div.total', {}, h('b', {}, `${quiz.right(who)}/${all}`), h('span', {}, t(who))),
  );
  const name = h('input', {type: 'text', autocomplete: 'name', value: pupil});
  name.oninput = () => {
    pupil = name.value;
  };
  const print = h('button', {type: 'button'}, t('print')),
    file = h('button', {type: 'button'}, t('save csv'));
  print.onclick = () => window.print();
  file.onclick = () => save('earshot.csv', csv(quiz, name.value), 'text/csv');
  const heads = ['question', 'right answer', ...whose, 'played'];
  const rows = quiz.rows.map((row) =>
    h(
      'tr',
      {},
      h('th', {scope: 'row'}, row.question),
      h('td', {}, row.options[row.answer]),
      whose.map((who) => cell(row, who)),
      h('td', {}, `${row.plays}×`),
    ),
  );
  const table = h(
    'table',
    {},
    h(
      'thead',
      {},
      h(
        'tr',
        {},
        heads.map((key) => h('th', {scope: 'col'}, t(key))),
      ),
    ),
    h('tbody', {}, rows),
  );
  return [
    h('h2', {tabIndex: -1}, t('card')),
    h('div.totals', {}, totals),
    h(
      'p.soft',
      {},
      t('card note', {
        seed: quiz.seed,
        all,
        date: new Date().toLocaleDateString(document.documentElement.lang),
      }),
    ),
    h('label.name', {}, t('name'), name),
    h('div.scroll.card', {tabIndex: 0, role: 'region', 'aria-label': t('card')}, table),
    h('div.row.unprinted', {}, print, file),
  ];
}

function cell(row, who) {
  const option = row[who],
    right = option === row.answer;
  if (option === null) return h('td', {}, '–');
  const shares = {student: row.probabilities, teacher: row.teacherShares}[who];
  const share = shares ? ` ${percent(shares[option])}` : '';
  return h(
    right ? 'td.good' : 'td.bad',
    {},
    `${right ? '✓' : '✗'} ${row.options[option]}`,
    h('small', {}, share),
  );
}
