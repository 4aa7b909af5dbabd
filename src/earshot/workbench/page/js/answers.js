// Options with how probable each is to those who answered, as bars.

import {h, percent} from './dom.js';
import {t} from './words.js';

/** A bar of a share, with who says so. */
export function bar(who, share, kind) {
  const filled = h('span.filled', {});
  filled.style.inlineSize = percent(share);
  const said = [
    h('span.who', {}, who),
    h('span.track', {}, filled),
    h('span.share', {}, percent(share)),
  ];
  return h(`span.bar.${kind}`, {}, said);
}

/** Rows of {text, share}, the most probable first, as a list. */
export function ranking(rows, limit = rows.length) {
  const sorted = rows.toSorted((a, b) => b.share - a.share).slice(0, limit);
  return h(
    'ol.ranking',
    {},
    sorted.map(({text, share}) => h('li', {}, bar(text, share, 'student'))),
  );
}

/** What is said of options that are equally probable; nothing where there are none. */
export function tie(tied, options) {
  return tied.length
    ? h('p.soft', {}, t('tie', {options: tied.map((one) => options[one]).join(', ')}))
    : null;
}
