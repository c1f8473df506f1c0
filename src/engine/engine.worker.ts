/** The worker's entry: makes the engine and exposes it. Everything it does is in `engine.ts`. */

import { expose } from 'comlink'
import { Hub } from '../hub/hub.js'
import { DiffusionPipeline } from '../pipelines/diffusion-pipeline.js'
import { Engine } from './engine.js'
import { holdLifeLock } from './life-lock.js'
import { installErrorTransfer } from './protocol.js'

let hub: Promise<Hub> | undefined
const openHub = () => (hub ??= Hub.open())

installErrorTransfer()
expose(
  new Engine({
    load: (repo, options) => DiffusionPipeline.fromPretrained(repo, options),
    cache: async () => (await openHub()).cache,
    lock: holdLifeLock(navigator.locks),
  }),
)
