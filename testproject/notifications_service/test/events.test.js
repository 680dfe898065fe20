'use strict';

const assert = require('node:assert/strict');
const { test } = require('node:test');
const { Poison, isMoved, readEvent } = require('../src/events');
const { compose } = require('../src/mails');

const ID = '0197b1a4-3c00-7000-8000-000000000001';

function message(body = '{"userId": 7}', properties = {}) {
  return {
    content: Buffer.from(body),
    fields: { exchange: 'domain-events', routingKey: 'user.signup' },
    properties: { messageId: ID, type: 'user.signup', headers: {}, ...properties },
  };
}

test('an event is read from a message', () => {
  const event = readEvent(message());

  assert.deepEqual(event, { id: ID, type: 'user.signup', payload: { userId: 7 }, headers: {} });
});

for (const [what, bad] of Object.entries({
  'no JSON': message('{'),
  'null': message('null'),
  'a number': message('7'),
  'a type that is not its routing key': message('{}', { type: 'payment.completed' }),
  'no message id': message('{}', { messageId: undefined }),
  'an id that is none': message('{}', { messageId: "'; DROP TABLE mails" }),
})) {
  test(`${what} is poison`, () => {
    assert.throws(() => readEvent(bad), Poison);
  });
}

for (const [type, payload] of [
  ['user.unknown', { userId: 7 }],
  ['toString', { userId: 7 }],
  ['user.signup', {}],
  ['user.signup', { userId: '7' }],
  ['payment.failed', { userId: 7, paymentId: 42 }],
  ['payment.completed', { userId: 7, paymentId: 42, amount: '9.90', currency: null }],
]) {
  test(`no mail is composed for ${type} with ${JSON.stringify(payload)}`, () => {
    assert.throws(() => compose({ type, payload }), Poison);
  });
}

test('what is wrong with an event is said without its words', () => {
  for (const bad of ['{"token": "s3cret', '{"userId": "s3cret"}']) {
    assert.throws(
      () => compose(readEvent(message(bad))),
      (error) => error instanceof Poison && !error.message.includes('s3cret'),
    );
  }
});

test('who is given something back gets a mail', () => {
  const payload = { paymentId: 42, refundId: 3, userId: 7, amount: '2.50', currency: 'EUR' };

  const mail = compose({ type: 'payment.refunded', payload });

  assert.deepEqual([mail.userId, mail.subject], [7, 'You got 2.50 EUR back']);
});

test('only the decision "on" moves an event here', () => {
  const decided = (value) => isMoved({ headers: { 'flag-notifications-v2': value } });

  assert.equal(decided('on'), true);
  for (const other of ['off', undefined, true, Buffer.from('on')]) {
    assert.equal(decided(other), false);
  }
});
