// The message log, the newest first.
import {byId, clock, element} from './elements.js';

const most = 300;
const types = ['M_DISCOVERY', 'M_RESPONSE', 'M_REQ_NEG', 'M_REQ_SYN', 'M_NEGOTIATE', 'M_END', 'M_WAIT', 'M_SYNCH', 'M_FLOOD', 'M_INVALID'];
const arrows = {sent: '→', received: '←', relayed: '⇢', dropped: '✕'};

byId('filter').elements.type.append(...types.map((t) => element('option', '', t)));

// fill shows the filter of the address in the form.
export function fill(query) {
  for (const field of byId('filter').elements) field.value = query.get(field.name) ?? '';
}

export function clear() {
  byId('messages').replaceChildren();
  byId('no-messages').hidden = false;
}

// take shows messages.
export function take(all) {
  const list = byId('messages');
  const before = list.scrollHeight;
  list.prepend(...all.slice(-most).reverse().map(entry));
  while (list.childElementCount > most) list.lastElementChild.remove();
  if (list.scrollTop > 0) list.scrollTop += list.scrollHeight - before; // what is read stays where it is
  byId('no-messages').hidden = list.childElementCount > 0;
}

// entry returns a message.
function entry(m) {
  const kind = element('span', `kind ${m.Kind}`, `${arrows[m.Kind] ?? ''} ${m.Reason ? `dropped: ${m.Reason}` : m.Kind}`);
  const to = m.Peer || (m.Kind === 'sent' ? 'multicast' : '');
  const line = element('div', 'line',
    element('time', '', clock(m.Time, 3)), kind, element('b', '', m.Type ?? ''),
    element('bdi', 'objective', m.Objective ?? ''), element('bdi', 'peer', to));
  if (m.Size) line.append(element('span', 'size', `${m.Size} bytes`));
  const text = element('code', '', m.Text ?? '');
  text.dir = 'ltr';
  const out = element('li', '', line, m.Text ? text : null, m.Error ? element('p', 'error', m.Error) : null);
  out.dataset.n = m.N;
  return out;
}
