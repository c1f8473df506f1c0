/** The worker that hashes large files, so that hashing does not delay the thread that downloads them. Only hash-thread.ts calls it. */

import { FileHasher } from '../cache/file-hasher.js'
import { freeBytes } from '../../util/free-bytes.js'
import type { HashAnswer, HashCall } from './hash-protocol.js'

const hashers = new Map<number, FileHasher>()

async function run(call: HashCall): Promise<Omit<HashAnswer, 'call'>> {
  if (call.kind === 'create') {
    hashers.set(call.file, await FileHasher.create(call.algorithm, call.size, call.state))
    return {}
  }
  const hasher = hashers.get(call.file)
  if (call.kind === 'close' || call.kind === 'digest') hashers.delete(call.file)
  if (hasher === undefined || call.kind === 'close') return {}
  if (call.kind === 'digest') return { hex: await hasher.digest() }
  await hasher.update(call.bytes)
  freeBytes(call.bytes)
  return { state: hasher.save() }
}

addEventListener('message', ({ data }: MessageEvent<HashCall>) => {
  run(data).then(
    (answer) => postMessage({ call: data.call, ...answer } satisfies HashAnswer),
    (error: unknown) => postMessage({ call: data.call, problem: String(error) } satisfies HashAnswer),
  )
})
