'use strict';

const { randomUUID } = require('node:crypto');
const { setTimeout: sleep } = require('node:timers/promises');
const amqp = require('amqplib');
const { Poison, isMoved, readEvent } = require('./events');
const { TYPES, compose } = require('./mails');
const { Outage, recordOnce } = require('./store');

const QUEUE = 'notifications';
const PREFETCH = 20;
const PAUSE = 1000; // Before what failed for the database's or the broker's sake.
const PATIENCE = 10_000; // Milliseconds until a broker that says nothing counts as away.

/** The queue with its bindings, and where rejected messages go. */
async function declare(channel, { exchange, queue }) {
  const dead = `${queue}.dead`;
  await channel.assertExchange(exchange, 'topic', { durable: true });
  await channel.assertExchange(dead, 'fanout', { durable: true });
  await channel.assertQueue(dead, {
    durable: true,
    arguments: { 'x-queue-type': 'quorum' },
  });
  await channel.bindQueue(dead, dead, '');
  await channel.assertQueue(queue, {
    durable: true,
    deadLetterExchange: dead,
    arguments: {
      'x-queue-type': 'quorum',
      'x-dead-letter-strategy': 'at-least-once',
      'x-overflow': 'reject-publish', // Which at-least-once needs.
      'x-delivery-limit': 20,
    },
  });
  for (const type of TYPES) await channel.bindQueue(queue, exchange, type);
}

/** Consumes, and connects again whenever the connection ends, until it is stopped. */
class Consumer {
  constructor({ url, exchange = 'domain-events', queue = QUEUE, pool, log = console }) {
    Object.assign(this, { url, exchange, queue, pool, log });
    this.stopping = new AbortController();
    this.inHand = new Set();
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
    if (this.channel) await this.channel.cancel(this.tag).catch(() => {});
    await Promise.allSettled(this.inHand);
    await this.connection?.close().catch(() => {});
  }

  async consumeUntilItEnds() {
    const connection = await amqp.connect(this.url, {
      timeout: PATIENCE,
      clientProperties: { connection_name: 'notifications-service' },
    });
    const ended = new Promise((resolve) => {
      connection.on('close', resolve);
      connection.on('error', (error) => this.log.error(`RabbitMQ: ${error.message}`));
    });
    const channel = await connection.createChannel();
    channel.on('error', (error) => this.log.error(`RabbitMQ: ${error.message}`));
    channel.on('close', () => connection.close().catch(() => {}));
    await declare(channel, this);
    await channel.prefetch(PREFETCH);
    const { consumerTag } = await channel.consume(this.queue, (message) => {
      if (message === null) {
        // The consumer was cancelled: the queue is gone, or has moved to another node.
        this.log.error('RabbitMQ cancelled the consumer');
        connection.close().catch(() => {});
        return;
      }
      const work = this.settle(channel, message).finally(() => this.inHand.delete(work));
      this.inHand.add(work);
    });
    Object.assign(this, { connection, channel, tag: consumerTag });
    this.log.info(`Consuming ${this.queue}`);
    if (this.stopping.signal.aborted) await this.stop(); // It was asked to meanwhile.
    await ended;
  }

  /** Acknowledge what is committed, reject what never can be. */
  async settle(channel, message) {
    while (true) {
      try {
        const isMine = await this.handle(message);
        if (isMine) this.tell(channel, 'mail.written');
        return this.answer(() => channel.ack(message));
      } catch (error) {
        if (!(error instanceof Outage)) {
          // Quoted: whoever publishes chooses the id, and a line of the log is not theirs.
          const id = JSON.stringify(message.properties.messageId);
          this.log.error(`${id} is given up: ${error.message}`);
          this.tell(channel, 'mail.failed');
          return this.answer(() => channel.reject(message, false));
        }
        this.log.error(`PostgreSQL: ${error.message}; trying again`);
        await this.pause();
        if (this.stopping.signal.aborted) return; // It comes again.
      }
    }
  }

  async handle(message) {
    const event = readEvent(message);
    if (!TYPES.includes(event.type)) throw new Poison(`${event.type} is unknown`);
    if (!isMoved(event)) return false;
    await recordOnce(this.pool, event, compose(event));
    return true;
  }

  /** How it went, for the guard of the monolith's flag: evidence, of which some may get lost. */
  tell(channel, type) {
    this.answer(() =>
      channel.publish(this.exchange, type, Buffer.from('{}'), {
        messageId: randomUUID(),
        type,
        appId: 'notifications',
        contentType: 'application/json',
        timestamp: Math.floor(Date.now() / 1000),
      }),
    );
  }

  answer(send) {
    try {
      send();
    } catch (error) {
      // The channel is closed: the message comes again, and is recognised.
      this.log.error(`RabbitMQ: ${error.message}`);
    }
  }

  async pause() {
    await sleep(PAUSE, null, { signal: this.stopping.signal }).catch(() => {});
  }
}

module.exports = { Consumer };
