'use strict';

// Messages from a queue of RabbitMQ, each one transaction.
const { setTimeout: sleep } = require('node:timers/promises');
const amqp = require('amqplib');
const { Outage } = require('./errors');

const EXCHANGE = 'domain-events';
const PREFETCH = 10;
const PAUSE = 1000;
const LONGEST_PAUSE = 10_000; // Between two tries of a message while the database is away.
const LOSSES = 3; // Of the connection, in the middle of the same message.
const PATIENCE = 10_000; // Milliseconds until a broker that says nothing counts as away.

/** Consumes, and connects again whenever the connection ends, until it is stopped. */
class Consumer {
  constructor({ url, queue, types, handle, log = console }) {
    Object.assign(this, { url, queue, types, handle, log, inHand: new Set() });
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
    await channel.assertQueue(this.queue, { durable: true, arguments: { 'x-queue-type': 'quorum' } });
    for (const type of this.types) await channel.bindQueue(this.queue, EXCHANGE, type);
    await channel.prefetch(PREFETCH);
    Object.assign(this, { connection, channel, tag: undefined });
    const { consumerTag } = await channel.consume(this.queue, (message) => {
      if (message === null) {
        connection.close().catch(() => {}); // The queue is gone.
        return;
      }
      const work = this.settle(channel, message).finally(() => this.inHand.delete(work));
      this.inHand.add(work);
    });
    this.tag = consumerTag;
    this.log.info(`Consuming ${this.queue}`);
    if (this.stopping.signal.aborted) await this.stop(); // It was asked to meanwhile.
    await ended;
  }

  /**
   * Acknowledge what is committed, and what fails as well.
   *
   * A database that is away is waited for. Each return to the queue counts for RabbitMQ,
   * which drops what has returned too often; so only a message that costs its connection
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

module.exports = { Consumer };
