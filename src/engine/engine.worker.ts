/** The worker's entry: makes the engine and exposes it. Everything it does is in `engine.ts`. */

import { expose } from 'comlink'
import { DiffusionPipeline } from '../pipelines/diffusion-pipeline.js'
import { Engine } from './engine.js'
import { holdLifeLock } from './life-lock.js'
import { installErrorTransfer } from './protocol.js'

installErrorTransfer()
expose(new Engine((repo, options) => DiffusionPipeline.fromPretrained(repo, options), holdLifeLock(navigator.locks)))
