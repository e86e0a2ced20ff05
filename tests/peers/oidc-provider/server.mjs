// Starts the server, says where it is, and dies with whoever started it.

import { Console } from 'node:console';
import { once } from 'node:events';
import http from 'node:http';

import { createApp } from './app.mjs';
import { dropNotices } from './notices.mjs';
import { settingsFrom } from './settings.mjs';

// Stdout carries the ready line and nothing else. The library prints its
// notices with console.info, so the console as a whole goes to stderr.
globalThis.console = new Console(process.stderr, process.stderr);
dropNotices(globalThis.console);

const exit = () => process.exit(0);
process.once('SIGTERM', exit);
// A parent that dies, however it dies, closes our stdin.
process.stdin.once('end', exit).once('close', exit).once('error', exit).resume();

const settings = settingsFrom(process.env);

const server = http.createServer();
// By default Node closes a connection that was idle for five seconds. A pooled
// client would now and then hit that race, as a fault no test asked for.
server.keepAliveTimeout = 10 * 60 * 1000;

// The issuer contains the port, so the port is taken before the app is made.
server.listen(settings.port, '127.0.0.1');
await once(server, 'listening');
const issuer = `http://127.0.0.1:${server.address().port}`;

server.on('request', createApp(issuer, settings));
process.stdout.write(`ready ${issuer}\n`);
