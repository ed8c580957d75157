// The bubbles: what ASAs say, one lane for each, the newest at the bottom.
import {atMost, byId, clock, element, shade} from './elements.js';

const most = 400; // bubbles
const mostLanes = 5; // beyond that, the last one is shared
const others = 'others';

let lanes = new Map(); // by instance and ASA
let last = null; // who spoke last
let lastTime = ''; // and when

export function clear() {
  lanes = new Map();
  last = null;
  lastTime = '';
  byId('lanes').replaceChildren();
  byId('talk').replaceChildren(element('p', 'empty', 'Nobody has said anything yet.'));
}

// nameOf returns who a line is from: the ASA or, for the package, the instance.
const nameOf = (words) => words.ASA || words.Instance;

// asaOf returns the ASA of an instance, if only one has spoken.
export function asaOf(instance) {
  const all = [...lanes.values()].filter((l) => l.instance === instance && l.asa);
  return all.length === 1 ? all[0].asa : '';
}

// laneOf returns the lane of a line, a new one if need be.
function laneOf(words) {
  const key = JSON.stringify([words.Instance, words.ASA]);
  if (lanes.has(key)) return lanes.get(key);
  if (lanes.size >= 10 * mostLanes) return lanes.get(others);
  const shared = lanes.size >= mostLanes - 1;
  const lane = {
    key, instance: words.Instance, asa: words.ASA, shared,
    column: Math.min(lanes.size, mostLanes - 1), shade: shade(key),
  };
  if (!shared || !lanes.has(others)) {
    const title = element('h2', shared ? 'lane' : `lane ${lane.shade}`,
      element('bdi', '', shared ? others : nameOf(words)));
    if (!shared) title.append(element('small', '', element('bdi', '', words.ASA ? words.Instance : '')));
    byId('lanes').append(title);
    document.documentElement.style.setProperty('--lanes', String(lane.column + 1));
  }
  if (shared && !lanes.has(others)) lanes.set(others, lane);
  lanes.set(key, lane);
  return lane;
}

// say shows a line.
export function say(words) {
  const talk = byId('talk');
  const atEnd = talk.scrollHeight - talk.scrollTop - talk.clientHeight < 60;
  talk.querySelector('.empty')?.remove();
  const lane = laneOf(words);
  const bubble = element('div', `bubble ${lane.shade}`,
    lane.shared ? element('b', '', element('bdi', '', nameOf(words))) : null,
    element('p', '', words.Text));
  bubble.firstElementChild.dir = 'auto';
  const time = clock(words.Time);
  const row = element('div', last === lane ? 'row again' : 'row', element('time', '', time === lastTime ? '' : time), bubble);
  row.style.setProperty('--lane', String(lane.column + 2)); // after the time
  last = lane;
  lastTime = time;
  talk.append(row);
  atMost(talk, most);
  if (atEnd) talk.scrollTop = talk.scrollHeight;
}
