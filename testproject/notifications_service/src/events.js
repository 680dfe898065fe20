'use strict';

/** What cannot be handled, however often it is tried: it goes to the dead letters. */
class Poison extends Error {}

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/** The event in a message; throws Poison if there is none. */
function readEvent(message) {
  const { messageId, type, headers = {} } = message.properties;
  if (typeof messageId !== 'string' || !UUID.test(messageId)) {
    throw new Poison('the message id is no UUID');
  }
  const { exchange, routingKey } = message.fields;
  // RabbitMQ checks who may use a routing key, and nobody checks the type. What came by the
  // default exchange, an operator has put back.
  if (exchange !== '' && type !== undefined && type !== routingKey) {
    throw new Poison('the type is not the routing key');
  }
  let payload;
  try {
    payload = JSON.parse(message.content.toString());
  } catch {
    throw new Poison('the body is not JSON'); // The error's own words would quote it.
  }
  if (payload === null || typeof payload !== 'object') {
    throw new Poison('the payload is no object');
  }
  return { id: messageId, type: type ?? routingKey, payload, headers };
}

/** Whether the monolith decided, when it published, that this service is in charge. */
function isMoved(event, flag = 'notifications-v2') {
  return event.headers[`flag-${flag}`] === 'on';
}

module.exports = { Poison, isMoved, readEvent };
