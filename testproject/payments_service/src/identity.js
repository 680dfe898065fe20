'use strict';

// Whom a request is for: Ed25519, one audience, a minute at most.
const { createPublicKey, verify } = require('node:crypto');
const { Refusal } = require('./errors');

const LEEWAY = 5;
const TTL = 60;
const SAFE = new Set(['GET', 'HEAD', 'OPTIONS']);
const parse = (part) => JSON.parse(Buffer.from(part, 'base64url'));
const refuse = (detail) => new Refusal(401, { title: 'Unauthorized', status: 401, detail });

class Verifier {
  constructor({ url, audience, issuer = 'monolith', fetchKeys = fetchJson }) {
    Object.assign(this, { url, audience, issuer, fetchKeys, keys: new Map(), asked: -Infinity });
  }

  /** The user's id; null for nobody. What cannot be believed is a 401. */
  async identify({ method, path, headers }, now = Date.now() / 1000) {
    const token = headers['strangler-identity'];
    if (!token) return null;
    const [head, claims, signature] = this.parts(token);
    if (head.typ !== 'strangler-identity+jwt' || head.alg !== 'EdDSA') throw refuse('Another kind.');
    const key = this.keys.get(head.kid) ?? (await this.refreshed(head.kid, now));
    const signed = Buffer.from(token.slice(0, token.lastIndexOf('.')));
    if (!key || !verify(null, signed, key, signature)) throw refuse('Not signed by the monolith.');
    if (claims.aud !== this.audience || claims.iss !== this.issuer) throw refuse('Not for us.');
    if (!(claims.exp > now - LEEWAY && claims.iat < now + LEEWAY)) throw refuse('Not now.');
    if (claims.iat < now - TTL - LEEWAY || typeof claims.sub !== 'string') throw refuse('Too old.');
    const target = decodeURI(String(claims.htu).split('?')[0]);
    if (!SAFE.has(method) && (claims.htm !== method || target !== path)) throw refuse('Another request.');
    return claims.sub;
  }

  parts(token) {
    try {
      const [head, claims, signature] = token.split('.');
      return [parse(head), parse(claims), Buffer.from(signature, 'base64url')];
    } catch {
      throw refuse('Not a token.');
    }
  }

  async refreshed(kid, now) {
    if (now - this.asked < 30) return undefined; // Or anybody could make us ask all the time.
    this.asked = now;
    const { keys } = await this.fetchKeys(this.url);
    const good = keys.filter((key) => key.kty === 'OKP' && key.crv === 'Ed25519');
    this.keys = new Map(good.map((jwk) => [jwk.kid, createPublicKey({ key: jwk, format: 'jwk' })]));
    return this.keys.get(kid);
  }
}

async function fetchJson(url) {
  const response = await fetch(url, { signal: AbortSignal.timeout(2000), redirect: 'error' });
  if (!response.ok) throw new Error(`${url}: ${response.status}`);
  return response.json();
}

module.exports = { Verifier };
