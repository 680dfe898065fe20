'use strict';

const { Poison } = require('./events');

// By type of event: the subject and the text of the mail. The payload is all there is.
const MAILS = {
  'payment.completed': ({ paymentId, amount, currency }) => [
    `You paid ${amount} ${currency}`,
    `Payment ${paymentId} is through.`,
  ],
  'payment.failed': ({ paymentId, reason }) => [
    'Your payment failed',
    `Payment ${paymentId} did not go through: ${reason}.`,
  ],
  'user.signup': () => ['Welcome', 'Your account is ready.'],
  'user.password-reset': ({ uid, token }) => [
    'Your new password',
    `Choose one within an hour: https://example.com/reset/${uid}/${token}/`,
  ],
};

const TYPES = Object.keys(MAILS);

function compose(event) {
  if (!Object.hasOwn(MAILS, event.type)) {
    throw new Poison(`no mail is known for ${event.type}`);
  }
  const { userId } = event.payload;
  if (!Number.isInteger(userId)) {
    throw new Poison(`the user id ${JSON.stringify(userId)} is no number`);
  }
  const [subject, body] = MAILS[event.type](event.payload);
  return { userId, subject, body };
}

module.exports = { TYPES, compose };
