// The negotiations, a card with a ladder for each, as the first instance saw them
// that reported it: who asked is on the left, who was asked on the right.
import {clock, duration, element, pick, setText, shade} from './elements.js';

// types are the messages of a negotiation.
export const types = ['M_REQ_NEG', 'M_NEGOTIATE', 'M_WAIT', 'M_END'];

const most = 40; // cards
const mostSteps = 30; // in a card

// Board shows negotiations in an element. asaOf returns the ASA that speaks for an
// instance, if that is known; picks says that names can be clicked on.
export class Board {
  constructor(box, asaOf, picks) {
    this.box = box;
    this.asaOf = asaOf;
    this.picks = picks;
    this.clear();
  }

  clear() {
    this.cards = new Map(); // by session
    this.box.replaceChildren(element('p', 'empty', 'None yet.'));
  }

  // take shows a message.
  take(m) {
    if (!m.Step || (m.Kind !== 'sent' && m.Kind !== 'received')) return;
    let card = this.cards.get(m.SessionID);
    // Session IDs come again: then an end that is known asks or is asked. The other
    // end may tell of the first time when that is over.
    const known = m.Kind === 'sent' ? card?.asks : card?.answers;
    if (!card || (m.Type === 'M_REQ_NEG' && card.over && known)) {
      if (m.Type !== 'M_REQ_NEG') return; // it began before we looked
      card = this.#add(m);
    }
    if (m.Type === 'M_REQ_NEG') { // each end knows itself
      if (m.Kind === 'sent') card.asks = m.Instance; else card.answers = m.Instance;
      this.#title(card);
    }
    // An instance that talks to itself sees each message twice.
    const same = m.Type + m.Text;
    if (m.Instance !== card.seenBy || (card.previous === same && card.kind !== m.Kind)) return;
    card.previous = same;
    card.kind = m.Kind;
    this.#step(card, m, (m.Kind === 'sent') === card.sawAsker);
  }

  // check marks those that ended without a word: the connection broke, or
  // somebody had waited for too long.
  check(state) {
    for (const [id, card] of this.cards) {
      const seenBy = (state.Instances ?? []).find((i) => i.Name === card.seenBy);
      const sessions = seenBy?.Snapshot.Sessions ?? [];
      if (card.over || !seenBy || sessions.length < seenBy.Counts.Sessions) continue;
      if (!sessions.some((s) => s.ID === id)) end(card, 'broken off', '');
    }
  }

  // add starts a card, at the top.
  #add(m) {
    const name = this.picks ? pick('objective', m.Objective) : element('bdi', '', m.Objective);
    name.classList.add('name');
    const parts = {state: element('span', 'state open', 'under way')};
    parts.who = element('p', 'who');
    parts.steps = element('ol', 'steps');
    const session = this.picks ? pick('session', String(m.SessionID)) : null;
    const card = {
      ...parts, seenBy: m.Instance, sawAsker: m.Kind === 'sent', peer: m.Peer, over: false, began: new Date(m.Time),
      box: element('article', 'card', element('h3', '', name, m.Step.Dry ? element('small', '', 'dry run') : null, parts.state),
        element('p', 'when', clock(m.Time), session ? ' session ' : null, session), parts.who, parts.steps),
    };
    this.cards.set(m.SessionID, card);
    this.box.querySelector('.empty')?.remove();
    this.box.prepend(card.box);
    while (this.box.childElementCount > most) this.box.lastElementChild.remove();
    if (this.cards.size > most) this.cards.delete(this.cards.keys().next().value);
    return card;
  }

  // party returns the name and the colour of one end of a negotiation.
  #party(card, asker) {
    const instance = asker ? card.asks : card.answers;
    if (!instance) return {name: card.peer, shade: 'shade-6'};
    const asa = this.asaOf(instance);
    return {name: asa || instance, shade: asa ? shade(JSON.stringify([instance, asa])) : shade(instance)};
  }

  // title names both ends, each above its side of the ladder.
  #title(card) {
    card.who.replaceChildren(...[true, false].map((asker) => {
      const {name, shade} = this.#party(card, asker);
      const peer = this.picks && !(asker ? card.asks : card.answers);
      return element('span', `party ${shade}`, peer ? pick('peer', name) : element('bdi', '', name));
    }));
    this.#colour(card);

  }

  // step adds a step to a card.
  #step(card, m, byAsker) {
    let said;
    switch (m.Type) {
      case 'M_REQ_NEG':
      case 'M_NEGOTIATE':
        said = element('code', '', element('bdi', '', m.Step.Value));
        break;
      case 'M_WAIT':
        said = element('span', '', `asks to wait ${duration(m.Step.Wait)}`);
        break;
      default:
        said = element('span', '', m.Step.Accept ? 'accepts' : 'declines',
          m.Step.Why ? element('bdi', 'why', `: ${m.Step.Why}`) : null);
        if (m.Step.Accept) end(card, 'agreed', 'good'); else end(card, 'declined', 'bad');
    }
    if (card.steps.childElementCount === mostSteps) card.steps.append(element('li', 'more', element('span', '', '…')));
    if (card.steps.childElementCount > mostSteps && !card.over) return;
    const row = element('li', '',
      element('time', '', since(card.began, m.Time)), element('span', 'said', said));
    row.title = `${m.Type} at ${clock(m.Time, 3)}`;
    row.dataset.way = byAsker ? 'there' : 'back';
    card.steps.append(row);
    this.#colour(card);
  }

  // colour gives each step the colour of who made it, which may have become known since.
  #colour(card) {
    for (const row of card.steps.children) {
      const way = row.dataset.way;
      if (way) row.className = `${way} ${this.#party(card, way === 'there').shade}`;
    }
  }
}

// since returns how long after the beginning something was.
function since(began, time) {
  const ms = Math.max(0, new Date(time) - began);
  if (ms < 1000) return `${ms} ms`;
  return ms < 100000 ? `${(ms / 1000).toFixed(1)} s` : duration(ms * 1e6);
}

// end shows how a negotiation ended.
function end(card, how, good) {
  card.over = true;
  setText(card.state, how);
  card.state.className = `state ${good}`;
}
