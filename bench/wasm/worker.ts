/**
 * A process of `npm run bench:wasm` that holds one network: `-- FORM NETWORK`, where FORM is `step` (Aquatint's graph for each step),
 * `once` (its graph that runs once for each prompt) or the path of an ONNX file. It writes a line of JSON when it is ready, then runs once
 * for each line that it reads, and writes the milliseconds.
 */

import { createInterface } from 'node:readline'
import * as ort from 'onnxruntime-web/wasm'
import { prepare, prepareFile, type Timed } from './sessions.js'
import { unetStages } from './unets.js'

async function open(form: string, network: string): Promise<Timed> {
  if (form !== 'step' && form !== 'once') return prepareFile(form)
  return prepare(unetStages(network).find(({ once }) => (once === true) === (form === 'once')))
}

export async function main([form = '', network = '']: readonly string[]): Promise<void> {
  ort.env.wasm.numThreads = 1
  const run = await open(form, network)
  console.log(JSON.stringify({ ready: true }))
  for await (const _ of createInterface({ input: process.stdin })) console.log(JSON.stringify(await run()))
}
