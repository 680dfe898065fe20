'use strict';

// What sagas ask of the payments: commands from RabbitMQ, each one transaction.
const { setTimeout: sleep } = require('node:timers/promises');
const amqp = require('amqplib');
const payments = require('./payments');
const { take } = require('./sagas');
const { inTransaction } = require('./store');

const EXCHANGE = 'domain-events';
const QUEUE = 'payments-commands';
const PREFETCH = 10;
const PAUSE = 1000;
const PATIENCE = 10_000; // Milliseconds until a broker that says nothing counts as away.

const referenceOf = ({ order }) => `order-${order}`;

async function idOf(client, payload) {
  const { rows } = await client.query('SELECT id FROM payments_payment WHERE reference = $1', [
    referenceOf(payload),
  ]);
  return rows[0].id;
}

/** A payment that waits: who has it can complete it, or let it fail. */
async function authorise(client, payload) {
  const { buyer: user, amount, currency = 'EUR' } = payload;
  const body = JSON.stringify({ user, amount, currency, reference: referenceOf(payload) });
  const made = await payments.create(client, body);
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

/** Consumes, and connects again whenever the connection ends, until it is stopped. */
class Commands {
  constructor({ url, pool, log = console }) {
    Object.assign(this, { url, pool, log, inHand: new Set() });
    this.stopping = new AbortController();
  }

  async run() {
    while (!this.stopping.signal.aborted) {
      try {
        await this.consumeUntilItEnds();
      } catch (error) {
        this.log.error(`RabbitMQ: ${error.message}; trying again`);
      }
      await this.pause();
    }
  }

  /** Take nothing new, finish what is in hand, then let go. */
  async stop() {
    this.stopping.abort();
    await this.channel?.cancel(this.tag).catch(() => {});
    await Promise.allSettled(this.inHand);
    await this.connection?.close().catch(() => {});
  }

  async consumeUntilItEnds() {
    const connection = await amqp.connect(this.url, { timeout: PATIENCE });
    const ended = new Promise((resolve) => connection.on('close', resolve));
    connection.on('error', (error) => this.log.error(`RabbitMQ: ${error.message}`));
    const channel = await connection.createChannel();
    channel.on('error', (error) => this.log.error(`RabbitMQ: ${error.message}`));
    channel.on('close', () => connection.close().catch(() => {}));
    await channel.assertExchange(EXCHANGE, 'topic', { durable: true });
    await channel.assertQueue(QUEUE, { durable: true, arguments: { 'x-queue-type': 'quorum' } });
    for (const type of Object.keys(COMMANDS)) await channel.bindQueue(QUEUE, EXCHANGE, type);
    await channel.prefetch(PREFETCH);
    const { consumerTag } = await channel.consume(QUEUE, (message) => {
      if (message === null) {
        connection.close().catch(() => {}); // The queue is gone.
        return;
      }
      const work = this.settle(channel, message).finally(() => this.inHand.delete(work));
      this.inHand.add(work);
    });
    Object.assign(this, { connection, channel, tag: consumerTag });
    this.log.info(`Consuming ${QUEUE}`);
    if (this.stopping.signal.aborted) await this.stop(); // It was asked to meanwhile.
    await ended;
  }

  /**
   * Acknowledge what is committed, and what fails as well: its saga asks again after its
   * timeout, and stops asking when that is no use.
   */
  async settle(channel, message) {
    const { messageId: id, headers, type } = message.properties;
    try {
      const payload = JSON.parse(message.content);
      await inTransaction(this.pool, (client) =>
        take(client, { id, headers, payload }, COMMANDS[type]),
      );
    } catch (error) {
      // Quoted: whoever publishes chooses the id, and a line of the log is not theirs.
      this.log.error(`${JSON.stringify(id)} failed: ${error.message}`);
    }
    try {
      channel.ack(message);
    } catch (error) {
      this.log.error(`RabbitMQ: ${error.message}`); // It comes again, and is known.
    }
  }

  async pause() {
    await sleep(PAUSE, null, { signal: this.stopping.signal }).catch(() => {});
  }
}

module.exports = { COMMANDS, Commands };
