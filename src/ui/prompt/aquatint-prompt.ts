/**
 * `<aquatint-prompt>`: a prompt box that makes pictures with a diffusers checkpoint. Attributes and properties down, events up;
 * its looks are custom properties and parts. The class wires fields, runner, strip and frame together and does none of their work.
 */

import {
  InputError,
  type DiffusionPipeline,
  type GeneratedImage,
  type LoadPipelineOptions,
  type RepositoryReference,
} from '../../index.js'
import { cancelledWords, doneWords, readyWords, restingWords, type IdleWords } from './activity/activity-words.js'
import { ActivityView } from './activity/activity-view.js'
import { loadOptionsFromAttributes, observedAttributes, settingFromAttribute, takeEarlyProperties } from './attributes.js'
import { FormView } from './form/form-view.js'
import { createImageDetail, imageActions, type ImageDetail } from './image-detail.js'
import { attachBox } from './box-root.js'
import type { ModelOption } from './form/model-field.js'
import { ModelOutlook } from './form/plan-preview.js'
import { Notice } from './message.js'
import { Plate } from './picture/picture-area.js'
import type { AquatintPromptEvents } from './prompt-events.js'
import { Runner, type RunnerState } from './runner.js'
import { emptySettings, toGenerateOptions, type PromptSettings } from '../parts/settings.js'
import { startOptions } from './form/start-pixels.js'

/** The prompt box. See docs/embedding.md. */
export class AquatintPrompt extends HTMLElement {
  /** It takes part in forms. */
  static readonly formAssociated = true
  /** The attributes that set something while they change. */
  static readonly observedAttributes = observedAttributes

  readonly #internals = this.attachInternals()
  readonly #form = new FormView(
    () => this.#saveState(),
    () => this.#modelChanged(true),
    () => void this.#outlook.look(this.loadOptions),
  )
  readonly #outlook = new ModelOutlook(this.#form.model)
  readonly #activity = new ActivityView()
  readonly #plate = new Plate()
  readonly #notice = new Notice()
  readonly #runner: Runner
  #loadOptions: LoadPipelineOptions = {}
  #value: File | null = null
  #images: readonly GeneratedImage[] = []
  #message: IdleWords = restingWords
  /** Calls of `generate` that have not ended. */
  #wanted = 0

  /** As `document.createElement('aquatint-prompt')`. */
  constructor() {
    super()
    this.#runner = new Runner({
      onState: (state) => this.#showState(state),
      onActivity: (activity) => this.#activity.update(activity, ...this.#message),
      onLoad: (info) => {
        this.#form.setDefaults(info)
        this.#emit('load', info)
      },
      onProgress: (progress) => this.#emit('progress', progress),
      onStep: (step) => {
        if (step.preview !== undefined) this.#plate.showPreview(step.preview)
        this.#emit('step', step)
      },
    })
    const root = attachBox(this, this.#form, this.#notice, this.#activity, this.#plate)
    this.#form.element.addEventListener('submit', (event) => {
      event.preventDefault()
      this.#try(() => this.generate())
    })
    this.#form.cancel.addEventListener('click', () => this.cancel())
    root.addEventListener('keydown', (event) => this.#onKey(event as KeyboardEvent))
    this.#form.setBusy(false, false)
    this.#form.setDefaults(undefined)
  }

  /** The prompt as written. */
  get prompt(): string {
    return this.#form.prompt.value
  }
  set prompt(prompt: string) {
    this.#form.write({ prompt })
  }

  /** The model as chosen: a repository id, an absolute URL, or a path that starts with `./`. A folder can be set too. */
  get model(): string {
    return this.#form.model.value
  }
  set model(model: RepositoryReference) {
    if (typeof model === 'string') this.#form.write({ model })
    else this.#form.model.folder = model
    this.#modelChanged(typeof model !== 'string')
  }

  /** Everything that is set. Setting changes what is given and leaves the rest. @throws InputError when a field is wrong */
  get settings(): PromptSettings {
    const settings = this.#form.read(true)
    if (settings === undefined) throw new InputError('invalid-settings', 'A field of the prompt box holds an invalid value.')
    return settings
  }
  set settings(settings: Partial<PromptSettings>) {
    this.#form.write(settings)
    if (settings.model !== undefined) this.#modelChanged()
  }

  /** The picture that runs start from, or null: from the words alone. Files of any kind that the browser shows. */
  get startImage(): Blob | null {
    return this.#form.startPicture.value
  }
  set startImage(picture: Blob | null) {
    this.#form.startPicture.value = picture
  }

  /** Models offered by name. */
  get models(): readonly ModelOption[] {
    return this.#form.model.options
  }
  set models(models: readonly ModelOption[]) {
    this.#form.model.options = models
  }

  /** Options of loading beyond the attributes, such as `token` and `components`. */
  get loadOptions(): LoadPipelineOptions {
    const { model, weights } = this.#form
    return { ...model.loadOptions, ...loadOptionsFromAttributes(this), ...this.#loadOptions, ...weights }
  }
  set loadOptions(options: LoadPipelineOptions) {
    this.#loadOptions = options
  }

  /** `idle`, `loading`, `ready` or `generating`. */
  get state(): RunnerState {
    return this.#runner.state
  }

  /** The loaded pipeline, to use directly. */
  get pipeline(): DiffusionPipeline | undefined {
    return this.#runner.pipeline
  }

  /** The last pictures. */
  get images(): readonly GeneratedImage[] {
    return this.#images
  }

  /** The first of the last pictures as a PNG file with its settings: what a form sends under `name`. */
  get value(): File | null {
    return this.#value
  }

  /** The form that it belongs to. */
  get form(): HTMLFormElement | null {
    return this.#internals.form
  }
  /** Under which name a form sends the picture. */
  get name(): string {
    return this.getAttribute('name') ?? ''
  }
  set name(name: string) {
    this.setAttribute('name', name)
  }
  /** `aquatint-prompt`. */
  get type(): string {
    return this.localName
  }
  /** Nothing can be done; what runs is cancelled when it is set. */
  get disabled(): boolean {
    return this.hasAttribute('disabled')
  }
  set disabled(disabled: boolean) {
    this.toggleAttribute('disabled', disabled)
  }
  /** The form cannot be sent before a picture is made. */
  get required(): boolean {
    return this.hasAttribute('required')
  }
  set required(required: boolean) {
    this.toggleAttribute('required', required)
    this.#validate()
  }
  /** As on every form control: `valueMissing` where a picture is required and none is made. */
  get validity(): ValidityState {
    return this.#internals.validity
  }
  /** What is missing, in words; empty where nothing is. */
  get validationMessage(): string {
    return this.#internals.validationMessage
  }
  /** Whether a form checks it. */
  get willValidate(): boolean {
    return this.#internals.willValidate
  }
  /** Whether nothing is missing; fires `invalid` where something is. */
  checkValidity(): boolean {
    return this.#internals.checkValidity()
  }
  /** As `checkValidity`, and tells the reader. */
  reportValidity(): boolean {
    return this.#internals.reportValidity()
  }

  /** Loads the model that is set, unless it is loaded. @throws as `DiffusionPipeline.fromPretrained` */
  load(): Promise<DiffusionPipeline> {
    return this.#report(async () => {
      this.#notice.clear()
      return this.#runner.load(this.#requireModel(), this.loadOptions)
    })
  }

  /** Makes pictures from what is set, loading first where needed. @throws as `DiffusionPipeline.generate` */
  generate(): Promise<ImageDetail> {
    return this.#report(async () => {
      this.#notice.clear()
      const { settings, startImage } = this
      this.#message = restingWords
      this.#wanted++
      this.#drawButtons()
      try {
        const output = await this.#runner.generate(this.#requireModel(), this.loadOptions, settings.prompt, async (info) => ({
          previewEvery: 1,
          ...toGenerateOptions(settings),
          ...(await startOptions(startImage, settings, info)),
        }))
        const { pipeline } = this.#runner
        if (pipeline === undefined) throw new DOMException('The model was unloaded.', 'AbortError')
        return this.#show(await createImageDetail(output, settings, startImage, pipeline.info))
      } finally {
        this.#wanted--
        this.#drawButtons()
      }
    })
  }

  /** Stops a load or a generation. What was downloaded stays in the cache. */
  cancel(): void {
    this.#runner.cancel()
  }

  /** Draws again what is drawn in the colours in force, after these changed. */
  redraw(): void {
    this.#plate.drawEmpty()
  }

  /** Sets everything as it was for an earlier picture; what `settings` does not hold is emptied, but for the model. */
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

  connectedCallback(): void {
    takeEarlyProperties(this)
    this.#plate.drawEmpty()
    this.#validate()
    this.#showIdle()
  }

  disconnectedCallback(): void {
    // Moving an element disconnects it for a moment.
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
    for (const name of observedAttributes) this.#form.write(settingFromAttribute(name, this.getAttribute(name)))
    this.#images = []
    this.#value = null
    this.#plate.clear()
    this.#notice.clear()
    this.#saveState()
    this.#validate()
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
    this.#value = detail.files[0] ?? null
    this.#form.setLastSeed(detail.seed)
    this.#plate.showImages(detail.images, detail.settings.prompt, (index) => imageActions(detail, index))
    this.#notice.showWarnings(detail.warnings)
    this.#message = doneWords(detail.timings)
    this.#showIdle()
    this.#saveState()
    this.#validate()
    this.#emit('image', detail)
    return detail
  }

  #modelChanged(byReader = false): void {
    this.#outlook.forget()
    if (byReader) void this.#outlook.look(this.loadOptions)
    if (this.#runner.pipeline !== undefined || this.#runner.isBusy) void this.#runner.dispose()
    this.#form.setDefaults(undefined)
    this.#saveState()
    this.#emit('modelchange', this.model)
  }

  #showState(state: RunnerState): void {
    this.#drawButtons()
    if (state === 'generating') this.#plate.begin()
    else this.#plate.end()
    this.toggleAttribute('busy', this.#runner.isBusy)
    if (state === 'ready' && this.#message === restingWords) this.#message = readyWords
    this.#showIdle()
    this.#emit('statechange', state)
  }

  #drawButtons(): void {
    this.#form.setBusy(this.#runner.isBusy, this.#wanted > 0)
  }

  #showIdle(): void {
    if (!this.#runner.isBusy) this.#activity.update(this.#runner.activity, ...this.#message)
  }

  #onKey(event: KeyboardEvent): void {
    if (event.key === 'Enter' && (event.ctrlKey || event.metaKey) && !this.#form.run.disabled) {
      event.preventDefault()
      this.#try(() => this.generate())
    } else if (event.key === 'Escape' && this.#runner.isBusy) {
      event.preventDefault()
      this.cancel()
    }
  }

  /** Shows and sends a failure on its way to the caller. */
  async #report<T>(task: () => Promise<T>): Promise<T> {
    try {
      return await task()
    } catch (error) {
      if (error instanceof DOMException && error.name === 'AbortError') this.#message = cancelledWords
      else {
        this.#message = restingWords
        this.#notice.showError(error, () => this.#try(() => this.generate()))
        this.#emit('error', error)
      }
      this.#showIdle()
      throw error
    }
  }

  /** For calls of the reader's: `#report` has already told. */
  #try(task: () => Promise<unknown>): void {
    void task().catch(() => {})
  }

  #saveState(): void {
    const settings = this.#form.read()
    this.#internals.setFormValue(this.#value, settings === undefined ? null : JSON.stringify(settings))
  }

  #validate(): void {
    if (this.required && this.#value === null) {
      this.#internals.setValidity({ valueMissing: true }, 'Generate a picture first.', this.#form.prompt)
    } else this.#internals.setValidity({})
  }

  #emit<K extends keyof AquatintPromptEvents>(type: K, detail: AquatintPromptEvents[K]): void {
    this.dispatchEvent(new CustomEvent(type, { detail }))
  }
}
