/**
 * `<aquatint-prompt>`: a prompt box that generates pictures with a diffusers checkpoint. Pages set attributes and properties, listen to
 * events, and style it by custom properties and parts. This class only connects the form, the runner, the activity and the picture area.
 */

import {
  InputError,
  isAquatintError,
  type DiffusionPipeline,
  type GeneratedImage,
  type LoadPipelineOptions,
  type PipelineInfo,
  type RepositoryReference,
} from '../../index.js'
import { cancelledWords, doneWords, readyWords, restingWords, waitWords, type IdleWords } from './activity/activity-words.js'
import { ActivityView } from './activity/activity-view.js'
import { mergeLoadOptions, preparedPicture } from './shared-pipelines.js'
import { loadOptionsFromAttributes, observedAttributes, settingFromAttribute, takeEarlyProperties } from './attributes.js'
import { FormControl } from './form-control.js'
import { FormView } from './form/form-view.js'
import { createImageDetail, imageActions, type ImageDetail } from './image-detail.js'
import { attachBox } from './box-root.js'
import type { ModelOption } from './form/model-field.js'
import { PlanPreview } from './form/plan-preview.js'
import { Message } from './message.js'
import { PictureArea } from './picture/picture-area.js'
import type { AquatintPromptEvents } from './prompt-events.js'
import { Runner, type RunnerState } from './runner.js'
import { emptySettings, toGenerateOptions, type PromptSettings } from '../parts/settings.js'
import { startOptions, usedPictures } from './form/start-pixels.js'

/** The prompt box. docs/embedding.md is its guide. */
export class AquatintPrompt extends FormControl {
  /** The attributes whose changes the browser reports to `attributeChangedCallback`. */
  static readonly observedAttributes = observedAttributes

  readonly #form = new FormView({
    onEdit: () => {
      this.#message.edited()
      this.#showIdle()
      this.#saveState()
    },
    onModelChange: () => this.#modelChanged(true),
    onLoadingChange: () => void this.#planPreview.show(this.loadOptions),
  })
  readonly #planPreview = new PlanPreview(this.#form.model)
  readonly #activity = new ActivityView()
  readonly #pictures = new PictureArea()
  readonly #message = new Message()
  readonly #runner: Runner
  #loadOptions: LoadPipelineOptions = {}
  #images: readonly GeneratedImage[] = []
  #idleWords: IdleWords = restingWords
  /** The number of `generate` calls that have not ended. */
  #wanted = 0

  /** The same as `document.createElement('aquatint-prompt')`. */
  constructor() {
    super()
    this.#runner = new Runner({
      onState: (state) => this.#showState(state),
      onActivity: (activity) => this.#activity.update(activity, ...this.#idleWords),
      onLoad: (info) => {
        this.#form.setDefaults(info)
        this.#message.showNotes(info.notes)
        this.#emit('load', info)
      },
      onProgress: (progress) => this.#emit('progress', progress),
      onLoras: (loras) => this.#form.loras.show(loras),
      onStep: (step) => {
        if (step.preview !== undefined) this.#pictures.showPreview(step.preview, this.#form.size)
        this.#emit('step', step)
      },
    })
    const root = attachBox(this, this.#form, this.#message, this.#activity, this.#pictures)
    this.#form.run.addEventListener('click', () => this.#start())
    this.#form.element.addEventListener('submit', (event) => event.preventDefault())
    this.#form.cancel.addEventListener('click', () => this.cancel())
    root.addEventListener('keydown', (event) => this.#onKey(event as KeyboardEvent))
    this.#form.setBusy(false, false)
    this.#form.setDefaults(undefined)
  }

  /** The prompt. */
  get prompt(): string {
    return this.#form.prompt.value
  }
  set prompt(prompt: string) {
    this.#form.write({ prompt })
  }

  /** The chosen model: a repository id, an absolute URL, or a path that starts with `./`. It can also be set to a folder. */
  get model(): string {
    return this.#form.model.value
  }
  set model(model: RepositoryReference) {
    if (typeof model === 'string') this.#form.write({ model })
    else this.#form.model.folder = model
    this.#modelChanged(typeof model !== 'string')
  }

  /** All settings. Assigning an object changes only the settings that it holds. @throws InputError when a field is invalid */
  get settings(): PromptSettings {
    const settings = this.#form.read()
    if (settings !== undefined) return settings
    const { invalid } = this.#form
    this.#form.showInvalid()
    throw new InputError(
      'invalid-settings',
      invalid.map(({ problem }) => problem).join(' '),
      Object.fromEntries(invalid.map(({ name, value }) => [name, value])),
    )
  }
  set settings(settings: Partial<PromptSettings>) {
    this.#form.write(settings)
    if (settings.model !== undefined) this.#modelChanged()
  }

  /** The picture that generation starts from, or null to use the prompt alone. Any image file that the browser can decode. */
  get startImage(): Blob | null {
    return this.#form.startPicture.value
  }
  set startImage(picture: Blob | null) {
    this.#form.startPicture.value = picture
  }

  /** The pictures that a model looks at while it draws (FLUX.2-klein), in their order; empty with models that take none. At most 16. */
  get referenceImages(): readonly Blob[] {
    return this.#form.referencePictures.value
  }
  set referenceImages(pictures: readonly Blob[]) {
    this.#form.referencePictures.value = pictures
  }

  /** Adds the file of a LoRA. LoRAs that have an address are set by `settings.loras`. */
  addLora(file: File): void {
    this.#form.loras.add(file)
  }

  /** Adds the file of an embedding (textual inversion): prompts can then use `word`. */
  addEmbedding(file: File, word: string): void {
    this.#form.words.add({ file, word })
  }

  /** The models in the list. */
  get models(): readonly ModelOption[] {
    return this.#form.model.options
  }
  set models(models: readonly ModelOption[]) {
    this.#form.model.options = models
  }

  /** The options of the next load. Assigned options override the attributes; some have no attribute, such as `token` and `components`. */
  get loadOptions(): LoadPipelineOptions {
    const { model, weights, components } = this.#form
    return mergeLoadOptions(model.loadOptions, loadOptionsFromAttributes(this), this.#loadOptions, weights, { components })
  }
  set loadOptions(options: LoadPipelineOptions) {
    this.#loadOptions = options
  }

  /** `idle`, `loading`, `ready` or `generating`. */
  get state(): RunnerState {
    return this.#runner.state
  }

  /** The loaded pipeline, for direct use. */
  get pipeline(): DiffusionPipeline | undefined {
    return this.#runner.pipeline
  }

  /** The most recent pictures. */
  get images(): readonly GeneratedImage[] {
    return this.#images
  }

  /** Loads the chosen model, unless it is loaded. @throws as `DiffusionPipeline.fromPretrained` */
  load(): Promise<DiffusionPipeline> {
    return this.#report(async () => {
      this.#message.clear()
      return this.#runner.load(this.#requireModel(), this.#preparingOptions)
    })
  }

  /** Generates pictures with the current settings, and loads the model first if necessary. @throws as `DiffusionPipeline.generate` */
  generate(): Promise<ImageDetail> {
    return this.#report(async () => {
      this.#message.clear()
      const { settings, startImage, referenceImages } = this
      const used = (info: PipelineInfo) => usedPictures({ startImage, referenceImages }, info)
      this.#idleWords = restingWords
      this.#wanted++
      this.#drawButtons()
      try {
        const optionsFor = async (info: PipelineInfo) => ({
          previewEvery: 1,
          ...toGenerateOptions(settings, info.scheduler.className),
          ...(await startOptions(used(info), settings, info)),
        })
        const model = this.#requireModel()
        const adapters = { loras: this.#form.loras.value, words: this.#form.words.value }
        const output = await this.#runner.generate(model, this.#preparingOptions, settings.prompt, optionsFor, adapters)
        const { pipeline } = this.#runner
        if (pipeline === undefined) throw new DOMException('The model was unloaded.', 'AbortError')
        return this.#show(await createImageDetail(output, settings, used(pipeline.info), pipeline.info))
      } finally {
        this.#wanted--
        this.#drawButtons()
      }
    })
  }

  get #preparingOptions(): LoadPipelineOptions {
    return { prepareFor: preparedPicture(this.#form.read() ?? {}), ...this.loadOptions }
  }

  /** Cancels a load or a generation. Downloaded data stays in the cache. */
  cancel(): void {
    this.#runner.cancel()
  }

  /** Redraws the empty picture area after the colours of the page have changed. */
  redraw(): void {
    this.#pictures.drawEmpty()
  }

  /** Restores the settings of an earlier picture; clears every field that `settings` does not hold, except the model. */
  restore(settings: Partial<PromptSettings>): void {
    this.settings = { ...emptySettings, ...settings }
  }

  /** Listens to an event of {@link AquatintPromptEvents}. */
  override addEventListener<K extends keyof AquatintPromptEvents>(
    type: K,
    listener: (event: CustomEvent<AquatintPromptEvents[K]>) => unknown,
    options?: boolean | AddEventListenerOptions,
  ): void
  /** Listens to any other event. */
  override addEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject | null,
    options?: boolean | AddEventListenerOptions,
  ): void
  override addEventListener(type: string, listener: unknown, options?: boolean | AddEventListenerOptions): void {
    super.addEventListener(type, listener as EventListenerOrEventListenerObject, options)
  }

  override connectedCallback(): void {
    takeEarlyProperties(this)
    this.#pictures.drawEmpty()
    super.connectedCallback()
    this.#showIdle()
  }

  disconnectedCallback(): void {
    // Wait: moving an element within the page also disconnects it, for a moment.
    queueMicrotask(() => {
      if (!this.isConnected) void this.#runner.dispose()
    })
  }

  attributeChangedCallback(name: string, _old: string | null, value: string | null): void {
    if (name === 'fixed-model') this.#form.model.element.hidden = value !== null
    this.#form.write(settingFromAttribute(name, value))
  }

  formDisabledCallback(disabled: boolean): void {
    this.#form.disabled = disabled
    if (disabled) this.cancel()
  }

  formResetCallback(): void {
    this.cancel()
    this.#form.write(emptySettings)
    this.startImage = null
    this.referenceImages = []
    for (const name of observedAttributes) this.#form.write(settingFromAttribute(name, this.getAttribute(name)))
    this.#images = []
    this.#pictures.clear()
    this.#message.clear()
    this.#saveState(null)
  }

  formStateRestoreCallback(state: string | File | FormData | null): void {
    if (typeof state === 'string') this.#form.write(JSON.parse(state) as Partial<PromptSettings>)
  }

  #requireModel(): RepositoryReference {
    if (this.model !== '') return this.#form.model.reference
    throw new InputError('no-model', 'No model is set: name a repository, a URL or a folder.')
  }

  #show(detail: ImageDetail): ImageDetail {
    this.#images = detail.images
    this.#form.setLastSeed(detail.seed)
    this.#pictures.showImages(detail.images, detail.settings.prompt, (index) => imageActions(detail, index))
    this.#message.showWarnings(detail.warnings)
    this.#idleWords = doneWords(detail.timings)
    this.#showIdle()
    this.#saveState(detail.files[0] ?? null)
    this.#emit('image', detail)
    return detail
  }

  #modelChanged(byReader = false): void {
    this.#idleWords = restingWords
    this.#planPreview.clear()
    if (byReader) void this.#planPreview.show(this.loadOptions)
    if (this.#runner.pipeline !== undefined || this.#runner.isBusy) void this.#runner.dispose()
    this.#form.setDefaults(undefined)
    this.#saveState()
    this.#emit('modelchange', this.model)
  }

  #showState(state: RunnerState): void {
    this.#drawButtons()
    if (state === 'generating') this.#pictures.begin()
    else this.#pictures.end()
    this.toggleAttribute('busy', this.#runner.isBusy)
    if (state === 'ready' && this.#idleWords === restingWords) this.#idleWords = readyWords
    this.#showIdle()
    this.#emit('statechange', state)
  }

  #drawButtons(): void {
    this.#form.setBusy(this.#runner.isBusy, this.#wanted > 0)
  }

  #showIdle(): void {
    if (this.#runner.isBusy) return
    const { activity, pipeline } = this.#runner
    const [headline, more] = this.#idleWords
    const wait = pipeline === undefined ? '' : waitWords(pipeline.info, this.#form.size)
    this.#activity.update(activity, headline, wait === '' ? more : wait)
  }

  #onKey(event: KeyboardEvent): void {
    // As with a submit button, Enter in a text field generates.
    const { target } = event
    const field = target instanceof HTMLInputElement && target.type === 'text' && !event.isComposing ? target : undefined
    if (event.key === 'Enter' && (event.ctrlKey || event.metaKey || field !== undefined) && !this.#form.run.disabled) {
      event.preventDefault()
      // Leaving the field fires its `change` event before its value is used.
      field?.blur()
      field?.focus()
      this.#start()
    } else if (event.key === 'Escape' && this.#runner.isBusy) {
      event.preventDefault()
      this.cancel()
    }
  }

  /** Runs `task`; shows an error and fires `error` before the error reaches the caller. */
  async #report<T>(task: () => Promise<T>): Promise<T> {
    try {
      return await task()
    } catch (error) {
      if (error instanceof DOMException && error.name === 'AbortError') this.#idleWords = cancelledWords
      else {
        this.#idleWords = this.#runner.pipeline === undefined ? restingWords : readyWords
        const isInput = isAquatintError(error) && error.name === 'InputError'
        if (isInput) this.#form.markFor(error)
        this.#message.showError(error, this.#generate, () => isInput && this.#form.invalid.length === 0)
        this.#emit('error', error)
      }
      this.#showIdle()
      throw error
    }
  }

  /** Generates for the user. If there is no prompt, asks the user first. */
  #start(): void {
    const isDescribed = () => this.prompt.trim() !== ''
    if (isDescribed()) return this.#generate()
    this.#message.ask(
      'The prompt is empty.',
      'Describe the picture in the prompt, or let the model choose.',
      'Generate without a prompt',
      this.#generate,
      isDescribed,
    )
    this.#form.prompt.focus({ preventScroll: true })
  }

  /** Generates for the user, and scrolls to the progress or to the error, which `#report` has already shown. */
  readonly #generate = (): void => {
    this.generate().catch(() => this.#message.element.scrollIntoView({ block: 'nearest' }))
    this.#activity.element.scrollIntoView({ block: 'nearest' })
  }

  #saveState(value = this.value): void {
    const settings = this.#form.read()
    FormControl.submit(this, value, settings === undefined ? null : JSON.stringify(settings))
  }

  #emit<K extends keyof AquatintPromptEvents>(type: K, detail: AquatintPromptEvents[K]): void {
    this.dispatchEvent(new CustomEvent(type, { detail }))
  }
}
