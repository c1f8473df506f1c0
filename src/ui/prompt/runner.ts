/**
 * Runs loads and generations for one prompt box, one at a time, and keeps track of their activity. It touches no elements; it reports
 * through hooks.
 */

import type {
  DiffusionPipeline,
  GenerateCallOptions,
  GenerateOutput,
  LoadPipelineOptions,
  LoraInfo,
  PipelineInfo,
  ProgressReport,
  RepositoryReference,
  StepInfo,
} from '../../index.js'
import { advance, advanceStep, idle, loaded, start, type Activity } from './activity/activity.js'
import type { Share } from '../../util/shared-task.js'
import { withAdapters, type WantedAdapters } from './apply-loras.js'
import { pipelineKey, sharePipeline } from './shared-pipelines.js'

/** Whether a pipeline is loaded, and whether a load or a generation is running. */
export type RunnerState = 'idle' | 'loading' | 'ready' | 'generating'

/** What a runner reports to. */
export interface RunnerHooks {
  onState(state: RunnerState): void
  onActivity(activity: Activity): void
  onLoad(info: PipelineInfo): void
  onProgress(progress: ProgressReport): void
  onLoras(loras: readonly LoraInfo[]): void
  onStep(step: StepInfo): void
}

/** Runs the work of one prompt box. */
export class Runner {
  readonly #hooks: RunnerHooks
  #state: RunnerState = 'idle'
  #activity = idle()
  #controller: AbortController | undefined
  #held: { readonly key: string; readonly share: Share<DiffusionPipeline> } | undefined
  #loading: { readonly key: string; readonly promise: Promise<DiffusionPipeline> } | undefined

  constructor(hooks: RunnerHooks) {
    this.#hooks = hooks
  }

  get state(): RunnerState {
    return this.#state
  }

  get activity(): Activity {
    return this.#activity
  }

  get isBusy(): boolean {
    return this.#state === 'loading' || this.#state === 'generating'
  }

  /** The loaded pipeline. */
  get pipeline(): DiffusionPipeline | undefined {
    return this.#held?.share.value
  }

  /** Loads a model, unless it is loaded or loading already. It cancels other work and releases another model first. */
  load(repo: RepositoryReference, options: LoadPipelineOptions): Promise<DiffusionPipeline> {
    const key = pipelineKey(repo, options)
    if (this.#held?.key === key && this.#loading === undefined) return Promise.resolve(this.#held.share.value)
    if (this.#loading?.key === key) return this.#loading.promise
    this.cancel()
    const loading = { key, promise: this.#load(key, repo, options) }
    this.#loading = loading
    const over = () => {
      if (this.#loading === loading) this.#loading = undefined
    }
    loading.promise.then(over, over)
    return loading.promise
  }

  /** Loads the model if necessary, then generates pictures with options that may depend on it. Cancels any other generation. */
  async generate(
    repo: RepositoryReference,
    options: LoadPipelineOptions,
    prompt: string,
    optionsFor: (info: PipelineInfo) => Promise<GenerateCallOptions>,
    adapters: WantedAdapters,
  ): Promise<GenerateOutput> {
    const pipeline = await this.load(repo, options)
    if (this.isBusy) this.cancel()
    return this.#work('generating', async (signal) => {
      const generateOptions = await optionsFor(pipeline.info)
      const onProgress = (progress: ProgressReport) => this.#progress(signal, progress)
      return withAdapters(pipeline, adapters, { signal, onProgress }, async () => {
        this.#hooks.onLoras(pipeline.loras)
        signal.throwIfAborted()
        return pipeline.generate(prompt, {
          ...generateOptions,
          signal,
          onProgress,
          onStep: (step) => {
            if (signal.aborted) return
            this.#draw(advanceStep(this.#activity, step, performance.now()))
            this.#hooks.onStep(step)
          },
        })
      })
    })
  }

  /** Cancels the running load or generation; its promise rejects with an AbortError. */
  cancel(): void {
    this.#controller?.abort()
  }

  /** Cancels everything and releases the pipeline. */
  async dispose(): Promise<void> {
    this.cancel()
    const held = this.#held
    this.#held = undefined
    this.#draw(idle())
    this.#setState('idle')
    await held?.share.leave()
  }

  async #load(key: string, repo: RepositoryReference, options: LoadPipelineOptions): Promise<DiffusionPipeline> {
    const old = this.#held
    this.#held = undefined
    return this.#work('loading', async (signal) => {
      // Release the old pipeline before loading the next one, because both may not fit into memory.
      await old?.share.leave()
      const share = await sharePipeline(repo, options, signal, (progress) => this.#progress(signal, progress))
      this.#held = { key, share }
      this.#activity = loaded(this.#activity, share.value.info)
      this.#hooks.onLoad(share.value.info)
      return share.value
    })
  }

  async #work<T>(state: 'loading' | 'generating', task: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const controller = new AbortController()
    this.#controller = controller
    this.#setState(state)
    this.#draw(start(this.#activity, performance.now(), state === 'generating'))
    try {
      const result = await task(controller.signal)
      controller.signal.throwIfAborted()
      return result
    } finally {
      // Newer work that started meanwhile keeps its own state.
      if (this.#controller === controller) {
        this.#controller = undefined
        this.#draw(idle(this.#activity, this.#held !== undefined))
        this.#setState(this.#held === undefined ? 'idle' : 'ready')
      }
    }
  }

  #progress(signal: AbortSignal, progress: ProgressReport): void {
    if (signal.aborted) return
    this.#draw(advance(this.#activity, progress, performance.now()))
    this.#hooks.onProgress(progress)
  }

  #draw(activity: Activity): void {
    this.#activity = activity
    this.#hooks.onActivity(activity)
  }

  #setState(state: RunnerState): void {
    if (state === this.#state) return
    this.#state = state
    this.#hooks.onState(state)
  }
}
