'use strict';

// What sagas ask of the payments: commands from RabbitMQ, each one transaction.
const { setTimeout: sleep } = require('node:timers/promises');
const amqp = require('amqplib');
const { Outage } = require('./errors');
const payments = require('./payments');
const { take } = require('./sagas');
const { inTransaction } = require('./store');

const EXCHANGE = 'domain-events';
const QUEUE = 'payments-commands';
const PREFETCH = 10;
const PAUSE = 1000;
const LONGEST_PAUSE = 10_000; // Between two tries of a command while the database is away.
const LOSSES = 3; // Of the connection, in the middle of the same command.
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
    if (this.tag) await this.channel.cancel(this.tag).catch(() => {});
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
    Object.assign(this, { connection, channel, tag: undefined });
    const { consumerTag } = await channel.consume(QUEUE, (message) => {
      if (message === null) {
        connection.close().catch(() => {}); // The queue is gone.
        return;
      }
      const work = this.settle(channel, message).finally(() => this.inHand.delete(work));
      this.inHand.add(work);
    });
    this.tag = consumerTag;
    this.log.info(`Consuming ${QUEUE}`);
    if (this.stopping.signal.aborted) await this.stop(); // It was asked to meanwhile.
    await ended;
  }

  /**
   * Acknowledge what is committed, and what fails as well: its saga asks again after its
   * timeout, and stops asking when that is no use.
   *
   * A database that is away is waited for. Each return to the queue counts for RabbitMQ,
   * which drops what has returned too often; so only a command that costs its connection
   * again and again goes back, and others get its place.
   */
  async settle(channel, message) {
    // Quoted: whoever publishes chooses the id, and a line of the log is not theirs.
    const id = JSON.stringify(message.properties.messageId);
    for (let tries = 1, losses = 0; ; tries += 1) {
      try {
        await this.handle(message);
        break;
      } catch (error) {
        if (!(error instanceof Outage)) {
          this.log.error(`${id} failed: ${error.message}`);
          break;
        }
        losses += error.atWork ? 1 : 0;
        const isCostly = losses === LOSSES;
        const next = isCostly ? 'goes back to the queue' : 'waits';
        this.log.error(`PostgreSQL: ${error.message}; ${id} ${next}`);
        await this.pause(Math.min(tries * PAUSE, LONGEST_PAUSE));
        if (isCostly) return this.answer(() => channel.nack(message));
        // RabbitMQ brings it again: to another process, or by another channel.
        if (this.stopping.signal.aborted || channel !== this.channel) return;
      }
    }
    this.answer(() => channel.ack(message));
  }

  async handle(message) {
    const { messageId: id, headers, type } = message.properties;
    const payload = JSON.parse(message.content);
    await inTransaction(this.pool, (client) =>
      take(client, { id, headers, payload }, COMMANDS[type]),
    );
  }

  answer(send) {
    try {
      send();
    } catch (error) {
      this.log.error(`RabbitMQ: ${error.message}`); // It comes again, and is known.
    }
  }

  async pause(milliseconds = PAUSE) {
    await sleep(milliseconds, null, { signal: this.stopping.signal }).catch(() => {});
  }
}

module.exports = { COMMANDS, Commands };
