// node server.mjs PORT: responds to each request with its method, target and body, and to GET /seen with all of them,
// a line each.
import http from 'node:http';

const seen = [];

const respond = (request, response) => {
    const body = [];
    request.on('data', (piece) => body.push(piece));
    request.on('end', () => {
        const line = `${request.method} ${request.url} ${Buffer.concat(body).toString('latin1')}`.trimEnd();
        if (line === 'GET /seen') {
            response.end(seen.join('\n'));
        } else {
            seen.push(line);
            response.end(line);
        }
    });
};

const server = http.createServer({ keepAliveTimeout: 60_000 }, respond);
server.maxRequestsPerSocket = 0;
server.listen(Number(process.argv[2]), '127.0.0.1');
