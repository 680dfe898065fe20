'use strict';

// What sagas ask of the payments: commands from RabbitMQ, each one transaction.
const { Consumer } = require('./consuming');
const { Outage } = require('./errors');
const payments = require('./payments');
const { take } = require('./sagas');

const QUEUE = 'payments-commands';
const NOT_MADE = '42P01'; // A table is missing: see main.js, which goes on making ours.

const referenceOf = ({ order }) => `order-${order}`;

async function idOf(client, payload) {
  const { rows } = await client.query('SELECT id FROM payments_payment WHERE reference = $1', [
    referenceOf(payload),
  ]);
  return rows[0].id;
}

/** A payment that waits: who has it can complete it, or let it fail. */
async function authorise(client, payload, users) {
  const { buyer: user, amount, currency = 'EUR' } = payload;
  const body = JSON.stringify({ user, amount, currency, reference: referenceOf(payload) });
  const made = await payments.create(client, body, users);
  return { payment: made.body.id };
}

async function release(client, payload) {
  const body = JSON.stringify({ reason: 'The order is cancelled.' });
  await payments.fail(client, await idOf(client, payload), body);
}

async function capture(client, payload) {
  await payments.complete(client, await idOf(client, payload));
}

const COMMANDS = {
  'payments.authorise': { direction: 'do', work: authorise },
  'payments.void': { direction: 'undo', work: release },
  'payments.capture': { direction: 'do', work: capture },
};

/** Takes part in sagas: one whose command fails asks again, until that is no use. */
const commands = ({ url, homes }) =>
  new Consumer({
    url,
    queue: QUEUE,
    types: Object.keys(COMMANDS),
    handle: async ({ content, properties: { messageId: id, headers, type } }) => {
      const payload = JSON.parse(content);
      const { direction, work } = COMMANDS[type];
      const asked = { direction, work: (...given) => work(...given, homes.users) };
      try {
        await homes.write((client) => take(client, { id, headers, payload }, asked));
      } catch (error) {
        throw error.code === NOT_MADE ? new Outage(error) : error;
      }
    },
  });

module.exports = { COMMANDS, commands };
