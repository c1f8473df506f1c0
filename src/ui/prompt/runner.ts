/**
 * Runs loads and generations for one prompt box, one at a time, and keeps the activity they make. No elements here: what it has to
 * say goes to the hooks it was given.
 */

import type {
  DiffusionPipeline,
  GenerateCallOptions,
  GenerateOutput,
  LoadPipelineOptions,
  PipelineInfo,
  PipelineProgress,
  RepositoryReference,
  StepInfo,
} from '../../index.js'
import { advance, advanceStep, idle, loaded, start, type Activity } from './activity/activity.js'
import type { Share } from '../../util/shared-task.js'
import { pipelineKey, sharePipeline } from './shared-pipelines.js'

/** Whether a pipeline is there, and whether something is going on. */
export type RunnerState = 'idle' | 'loading' | 'ready' | 'generating'

/** Whom a runner tells. */
export interface RunnerHooks {
  onState(state: RunnerState): void
  onActivity(activity: Activity): void
  onLoad(info: PipelineInfo): void
  onProgress(progress: PipelineProgress): void
  onStep(step: StepInfo): void
}

/** One prompt box's work. */
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

  /** The pipeline held now. */
  get pipeline(): DiffusionPipeline | undefined {
    return this.#held?.share.value
  }

  /** Loads a model unless it is the one held or on its way. Another one that is held or on its way is let go. */
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

  /** Loads where needed, then makes pictures with the options that fit what was loaded. What another call was making is cancelled. */
  async generate(
    repo: RepositoryReference,
    options: LoadPipelineOptions,
    prompt: string,
    optionsFor: (info: PipelineInfo) => Promise<GenerateCallOptions>,
  ): Promise<GenerateOutput> {
    const pipeline = await this.load(repo, options)
    if (this.isBusy) this.cancel()
    return this.#work('generating', async (signal) => {
      const generateOptions = await optionsFor(pipeline.info)
      signal.throwIfAborted()
      return pipeline.generate(prompt, {
        ...generateOptions,
        signal,
        onProgress: (progress) => this.#progress(signal, progress),
        onStep: (step) => {
          if (signal.aborted) return
          this.#draw(advanceStep(this.#activity, step, performance.now()))
          this.#hooks.onStep(step)
        },
      })
    })
  }

  /** Stops what is going on; its promise rejects with an AbortError. */
  cancel(): void {
    this.#controller?.abort()
  }

  /** Stops everything and lets the pipeline go. */
  async dispose(): Promise<void> {
    this.cancel()
    const held = this.#held
    this.#held = undefined
    this.#setState('idle')
    await held?.share.leave()
  }

  async #load(key: string, repo: RepositoryReference, options: LoadPipelineOptions): Promise<DiffusionPipeline> {
    const old = this.#held
    this.#held = undefined
    return this.#work('loading', async (signal) => {
      // Given back before the next one comes, since both may not fit.
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
    this.#draw(start(this.#activity, performance.now()))
    try {
      const result = await task(controller.signal)
      controller.signal.throwIfAborted()
      return result
    } finally {
      // Unless something newer has begun meanwhile.
      if (this.#controller === controller) {
        this.#controller = undefined
        this.#draw(idle(this.#activity))
        this.#setState(this.#held === undefined ? 'idle' : 'ready')
      }
    }
  }

  #progress(signal: AbortSignal, progress: PipelineProgress): void {
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
