'use strict';

const { Poison } = require('./events');

// By type of event: the subject and the text of the mail. The payload is all there is;
// what it lacks is no word for a mail, so asking for it is an error.
const MAILS = {
  'payment.completed': ({ paymentId, amount, currency }) => [
    `You paid ${amount} ${currency}`,
    `Payment ${paymentId} is through.`,
  ],
  'payment.failed': ({ paymentId, reason }) => [
    'Your payment failed',
    `Payment ${paymentId} did not go through: ${reason}.`,
  ],
  'payment.refunded': ({ paymentId, amount, currency }) => [
    `You got ${amount} ${currency} back`,
    `Of payment ${paymentId}, ${amount} ${currency} are on their way to you.`,
  ],
  'user.signup': () => ['Welcome', 'Your account is ready.'],
};

const TYPES = Object.keys(MAILS);

function compose(event) {
  if (!Object.hasOwn(MAILS, event.type)) {
    throw new Poison(`no mail is known for ${event.type}`);
  }
  const { userId } = event.payload;
  if (!Number.isInteger(userId)) throw new Poison('the user id is no number');
  const [subject, body] = MAILS[event.type](new Proxy(event.payload, { get: given }));
  return { userId, subject, body };
}

function given(payload, name) {
  const value = Object.hasOwn(payload, name) ? payload[name] : undefined;
  if (typeof value !== 'string' && typeof value !== 'number') {
    throw new Poison(`the payload has no ${name}`);
  }
  return value;
}

module.exports = { TYPES, compose };
