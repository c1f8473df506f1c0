/** The paths under `/-/`: they set the server's faults and return its log over HTTP, for tests that run inside a page. */

import type { IncomingMessage, ServerResponse } from 'node:http'
import { syntheticFile, type VirtualFile } from './repositories.js'
import type { Faults, HubServer } from './types.js'

/** A repository as JSON. A file is a text, or `{size, seed}` for synthetic bytes. */
type RepositoryInJson = Readonly<Record<string, string | { readonly size: number; readonly seed?: number }>>

/** Answers `PUT /-/faults`, `GET` and `DELETE /-/log`, `PUT /-/repositories/{owner}/{name}` and `POST /-/drop`. */
export async function answerControl(
  server: HubServer,
  request: IncomingMessage,
  response: ServerResponse,
  path: string,
): Promise<void> {
  response.setHeader('access-control-allow-origin', '*')
  response.setHeader('access-control-allow-methods', 'GET, PUT, POST, DELETE')
  response.setHeader('access-control-allow-headers', '*')
  const action = `${request.method} ${path.slice(3).split('/')[0]}`
  let answer: unknown = {}
  if (request.method === 'OPTIONS') answer = {}
  else if (action === 'PUT faults') server.setFaults((await bodyOf(request)) as Faults)
  else if (action === 'GET log') answer = server.log
  else if (action === 'DELETE log') server.clearLog()
  else if (action === 'POST drop') server.dropConnections()
  else if (action === 'PUT repositories') {
    const id = path.slice('/-/repositories/'.length)
    server.setRepository(id, content((await bodyOf(request)) as RepositoryInJson))
    answer = { commit: await server.commit(id) }
  } else {
    response.writeHead(404).end()
    return
  }
  response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(answer))
}

function content(files: RepositoryInJson): Record<string, string | VirtualFile> {
  return Object.fromEntries(
    Object.entries(files).map(([path, file]) => [path, typeof file === 'string' ? file : syntheticFile(file.size, file.seed)]),
  )
}

async function bodyOf(request: IncomingMessage): Promise<unknown> {
  const parts: Buffer[] = []
  for await (const part of request) parts.push(part as Buffer)
  return JSON.parse(Buffer.concat(parts).toString())
}
