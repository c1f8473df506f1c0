/** The entry of the worker: creates the engine and exposes it to the page. */

import { expose } from 'comlink'
import { WorkerEngine } from './engine.js'
import { holdLifeLock } from './life-lock.js'
import { pipelineLoader, pipelinePlanner } from './load-pipeline.js'
import { installPageWorkers } from './page-worker.js'
import { installErrorTransfer } from './protocol.js'
import { SharedHub } from './shared-hub.js'

const hub = new SharedHub()

installErrorTransfer()
expose(
  new WorkerEngine({
    load: pipelineLoader(hub),
    plan: pipelinePlanner(hub),
    cache: async () => (await hub.open()).cache,
    useWorkers: installPageWorkers,
    lock: holdLifeLock(navigator.locks),
  }),
)
