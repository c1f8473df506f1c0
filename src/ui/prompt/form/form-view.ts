/** The fields of a prompt box: reads them as settings, and shows what is wrong next to the field. */

import type { LoadPipelineOptions, PipelineInfo } from '../../../index.js'
import { h, setText } from '../../parts/dom.js'
import type { Size } from '../../parts/size.js'
import { settingsFor, settingsNote, type ModelSettings } from '../../parts/model-settings.js'
import { ModelField } from './model-field.js'
import { NumberFields, type FieldName, type InvalidField } from './number-fields.js'
import { LoraShelf } from './lora-shelf.js'
import { ReferencePictures } from './reference-pictures.js'
import { SchedulerFields } from './scheduler-fields.js'
import { StartPicture } from './start-picture.js'
import { WordShelf } from './word-shelf.js'
import { asDType, asWeighting, dtypeNames, weightingNames, type PromptSettings } from '../../parts/settings.js'

/** What a form reports when the user changes something. */
export interface FormListeners {
  /** Called when any field has changed. */
  readonly onEdit: () => void
  /** Called when another model was chosen. */
  readonly onModelChange: () => void
  /** Called when another type of weights or another preview decoder was chosen. */
  readonly onLoadingChange: () => void
}

/** The form with all fields and buttons. */
export class FormView {
  readonly element: HTMLFormElement
  readonly prompt = h('textarea', { id: 'prompt', part: 'prompt', rows: 4, placeholder: 'What should be in the picture?' })
  readonly negativePrompt = h('textarea', {
    id: 'negative',
    part: 'negative-prompt',
    rows: 1,
    placeholder: 'What should not be in the picture',
  })
  readonly model: ModelField
  // The type is not `submit`: in a frame that is sandboxed without `allow-forms`, the browser blocks submitting a form and fires no event.
  readonly run = h('button', { type: 'button', class: 'primary', part: 'run' }, 'Generate')
  readonly cancel = h('button', { type: 'button', part: 'cancel' }, 'Cancel')
  readonly startPicture: StartPicture
  readonly referencePictures: ReferencePictures
  readonly #negativeRow: HTMLElement
  readonly #guidanceRow: HTMLElement
  readonly #trueCfgRow: HTMLElement
  readonly loras: LoraShelf
  readonly words: WordShelf
  readonly #numbers = new NumberFields()
  readonly #scheduler = new SchedulerFields(this.#numbers.row('eta'))
  readonly #dtype = h('select', { id: 'dtype' }, h('option', { value: '' }, 'As published'))
  readonly #previews = h(
    'select',
    { id: 'preview-decoder' },
    h('option', { value: '' }, 'Rough'),
    h('option', { value: 'auto' }, 'Sharp'),
  )
  readonly #weighting = h('select', { id: 'prompt-weighting' }, h('option', { value: '' }, 'None'))
  /** The fields for models that read the prompt with CLIP. */
  readonly #clipRows: readonly HTMLElement[]
  readonly #lock = h(
    'button',
    { type: 'button', class: 'quiet', 'aria-pressed': 'false', title: 'Use the same seed for the next pictures' },
    'Keep',
  )
  readonly #summary = h('span', { class: 'summary-text' })
  /** Says which settings a distilled model or LoRA recommends. */
  readonly #published = h('p', { class: 'note', 'aria-live': 'polite' })
  readonly #settings: HTMLDetailsElement
  #info: PipelineInfo | undefined
  #lastSeed: number | undefined
  /**
   * The timesteps of a restored picture, for which there is no field. They are cleared when the user changes the steps or the scheduler.
   */
  #timesteps: readonly number[] | undefined

  constructor({ onEdit, onModelChange, onLoadingChange }: FormListeners) {
    this.model = new ModelField(onModelChange)
    this.referencePictures = new ReferencePictures(onEdit)
    this.startPicture = new StartPicture(() => {
      this.#passOn()
      this.#drawSummary()
      onEdit()
    })
    const onChange = () => {
      this.#drawSummary()
      onEdit()
    }
    const shelf = { onChange, onWord: (word: string) => this.#addWord(word) }
    this.loras = new LoraShelf(shelf)
    this.words = new WordShelf(shelf)
    for (const [name, label] of Object.entries(dtypeNames)) this.#dtype.append(h('option', { value: name }, label))
    for (const [name, label] of Object.entries(weightingNames)) this.#weighting.append(h('option', { value: name }, label))
    for (const select of [this.#dtype, this.#previews]) select.addEventListener('change', onLoadingChange)
    this.#lock.addEventListener('click', () => this.#toggleSeed())
    this.#guidanceRow = this.#numbers.row('guidanceScale')
    this.#trueCfgRow = this.#numbers.row('trueCfgScale')
    this.#clipRows = [
      h('div', { class: 'field' }, h('label', { for: 'prompt-weighting' }, 'Prompt weights'), this.#weighting),
      this.#numbers.row('clipSkip'),
    ]
    this.#negativeRow = h('div', { class: 'field' }, h('label', { for: 'negative' }, 'Negative prompt'), this.negativePrompt)
    this.#settings = h(
      'details',
      { class: 'settings', part: 'settings' },
      h('summary', {}, h('span', { class: 'summary-title' }, 'Settings'), this.#summary),
      h(
        'div',
        { class: 'grid' },
        ...(['width', 'height', 'numInferenceSteps'] as const).map((name) => this.#numbers.row(name)),
        this.#guidanceRow,
        this.#trueCfgRow,
        this.#numbers.row('seed', this.#lock),
        this.#scheduler.row,
        this.#numbers.row('numImagesPerPrompt'),
        ...this.#clipRows,
        h('div', { class: 'field' }, h('label', { for: 'dtype' }, 'Weights'), this.#dtype),
        h('div', { class: 'field' }, h('label', { for: 'preview-decoder' }, 'Previews'), this.#previews),
        this.#scheduler.more,
        h('slot', { name: 'settings' }),
      ),
    )
    this.element = h(
      'form',
      { part: 'form', novalidate: true },
      h('slot', { name: 'header' }),
      h('div', { class: 'field' }, h('label', { for: 'prompt' }, 'Prompt'), this.prompt),
      this.#negativeRow,
      this.startPicture.element,
      this.referencePictures.element,
      this.loras.element,
      this.words.element,
      h('slot', { name: 'inputs' }),
      this.model.element,
      this.#published,
      this.#settings,
      h('div', { class: 'buttons' }, this.run, this.cancel, h('slot', { name: 'actions' })),
    )
    for (const field of [this.#numbers.input('numInferenceSteps'), this.#scheduler.row])
      field.addEventListener('input', () => {
        this.#timesteps = undefined
      })
    this.element.addEventListener('input', () => {
      this.#drawSummary()
      onEdit()
    })
    this.#drawSummary()
  }

  /** The fields with invalid values. */
  get invalid(): readonly InvalidField[] {
    return this.#numbers.invalid()
  }

  /** Marks the fields with invalid values, opens the section that contains them, and moves the focus to the first. */
  showInvalid(): void {
    const [first, ...others] = this.invalid
    if (first === undefined) return
    this.#settings.open = true
    for (const { name } of [first, ...others]) this.#numbers.check(name)
    this.#numbers.input(first.name).focus()
  }

  /** Marks the fields that an error of the library is about. */
  markFor(error: unknown): void {
    this.#numbers.markFor(error)
  }

  /**
   * The settings in the fields, or undefined if one is invalid. Settings that the loaded model does not have are left out, and settings
   * that a distilled model needs replace empty fields.
   */
  read(): PromptSettings | undefined {
    if (this.invalid.length > 0) return undefined
    const negative = this.#negativeRow.hidden ? '' : this.negativePrompt.value
    const typed = { ...this.#numbers.values(), ...this.#scheduler.value }
    const { timesteps: usual, ...card } = this.#card
    const { guidanceScale, trueCfgScale, clipSkip, ...others } = { ...card, ...typed }
    const trueCfg = this.#trueCfgRow.hidden ? undefined : trueCfgScale
    // The recommended timesteps apply only to the recommended number of steps and scheduler.
    const isUsual = typed.numInferenceSteps === undefined && typed.scheduler === undefined
    const timesteps = this.#timesteps ?? (isUsual ? usual : undefined)
    const { strength } = this.startPicture
    const weighting = asWeighting(this.#weighting.value)
    const readsClip = this.#clipRows.every(({ hidden }) => !hidden)
    return {
      model: this.model.value,
      ...this.weights,
      ...(this.#previews.value === '' ? {} : { previewDecoder: this.#previews.value }),
      prompt: this.prompt.value,
      // A true CFG scale needs a negative prompt, which may be empty.
      ...(negative === '' && trueCfg === undefined ? {} : { negativePrompt: negative }),
      ...others,
      ...(timesteps === undefined ? {} : { timesteps }),
      ...(guidanceScale === undefined || this.#guidanceRow.hidden ? {} : { guidanceScale }),
      ...(trueCfg === undefined ? {} : { trueCfgScale: trueCfg }),
      ...(strength === undefined ? {} : { strength }),
      ...(clipSkip === undefined || !readsClip ? {} : { clipSkip }),
      ...(weighting === undefined || !readsClip ? {} : { promptWeighting: weighting }),
      ...(this.loras.value.length === 0 ? {} : { loras: this.loras.settings }),
    }
  }

  /** The size of the result, if it is known. */
  get size(): Size | undefined {
    const [width, height] = (['width', 'height'] as const).map((name) => Number(this.#shown(name)))
    return width !== undefined && height !== undefined && width > 0 && height > 0 ? { width, height } : undefined
  }

  /** The chosen type of the weights, if any. */
  get weights(): Pick<PromptSettings, 'dtype'> {
    const dtype = asDType(this.#dtype.value)
    return dtype === undefined ? {} : { dtype }
  }

  /** The component that the form adds to the pipeline: the preview decoder, if one is chosen. */
  get components(): LoadPipelineOptions['components'] {
    return this.#previews.value === '' ? {} : { preview_decoder: this.#previews.value }
  }

  /** Writes settings into the fields: `undefined` clears a field, and a setting that is absent leaves it. */
  write(settings: Partial<PromptSettings>): void {
    if (settings.prompt !== undefined) this.prompt.value = settings.prompt
    if ('negativePrompt' in settings) this.negativePrompt.value = settings.negativePrompt ?? ''
    if (settings.model !== undefined) {
      this.model.value = settings.model
      this.setDefaults(this.#info)
    }
    this.#numbers.write(settings)
    if ('strength' in settings) this.startPicture.strength = settings.strength
    if ('loras' in settings) this.loras.settings = settings.loras ?? []
    if ('dtype' in settings) this.#dtype.value = settings.dtype ?? ''
    if ('previewDecoder' in settings) this.#setPreviews(settings.previewDecoder ?? '')
    this.#scheduler.write(settings)
    if ('timesteps' in settings || 'numInferenceSteps' in settings) this.#timesteps = settings.timesteps
    if ('promptWeighting' in settings) this.#weighting.value = settings.promptWeighting ?? ''
    if ('seed' in settings) this.#lock.setAttribute('aria-pressed', String(settings.seed !== undefined))
    this.#drawSummary()
  }

  /** Shows the defaults of the loaded model in the empty fields, and hides the fields that the model does not have. */
  setDefaults(info: PipelineInfo | undefined): void {
    this.#info = info
    this.startPicture.supported = info?.imageToImage ?? true
    const takesReferences = info?.takesReferences === true && info.imageToImage
    this.startPicture.element.hidden = takesReferences
    this.referencePictures.supported = info && takesReferences
    this.#passOn()
    this.#guidanceRow.hidden = info?.guidance === 'none'
    for (const row of this.#clipRows) row.hidden = info?.promptWeighting === false
    this.#drawSummary()
  }

  /**
   * Shows the negative prompt if the model takes one and guidance (or true CFG) is on. Shows the true CFG scale if the model has it or,
   * before a model is loaded, if it is set.
   */
  #showGuidance(): void {
    const scale = this.#numbers.input('trueCfgScale').value.trim()
    const { takesNegativePrompt = true, guidance } = this.#info ?? {}
    const byNegative = guidance === undefined || guidance === 'classifier-free'
    this.#trueCfgRow.hidden = guidance === undefined ? scale === '' : byNegative || !takesNegativePrompt
    this.#negativeRow.hidden = !takesNegativePrompt || !((byNegative && this.#guides) || Number(scale) > 1)
  }

  /** Whether there is guidance. A scale of 0, which distilled models need, is no guidance, except where the network takes the scale as an input. */
  get #guides(): boolean {
    if (this.#guidanceRow.hidden) return false
    return this.#info?.guidance === 'embedded' || Number(this.#shown('guidanceScale') ?? 1) > 0
  }

  /** Stores the seed of the last run for the Keep button, and shows it in the empty seed field. */
  setLastSeed(seed: number): void {
    this.#lastSeed = seed
    if (this.#lock.getAttribute('aria-pressed') === 'false') this.#numbers.input('seed').placeholder = `random (last: ${seed})`
  }

  /**
   * Shows Cancel while `busy`, and hides Generate while pictures are `wanted`. While only a model loads, Generate stays visible, and the
   * label of Cancel says what it cancels.
   */
  setBusy(busy: boolean, wanted: boolean): void {
    // If the focused button is hidden, the focus moves to the other button instead of being lost.
    const root = this.element.getRootNode()
    const focused = root instanceof ShadowRoot ? root.activeElement : null
    this.cancel.hidden = !busy
    setText(this.cancel, wanted ? 'Cancel' : 'Cancel loading')
    this.run.hidden = busy && wanted
    if (this.run.hidden && focused === this.run) this.cancel.focus()
    if (!busy && focused === this.cancel) this.run.focus()
  }

  set disabled(disabled: boolean) {
    for (const field of this.element.querySelectorAll<HTMLInputElement>('input, textarea, select, button'))
      field.disabled = disabled
  }

  /** Chooses a preview decoder. A repository that a page or a link names becomes an option. */
  #setPreviews(decoder: string): void {
    if (![...this.#previews.options].some(({ value }) => value === decoder))
      this.#previews.append(h('option', { value: decoder }, decoder))
    this.#previews.value = decoder
  }

  /** With a model that takes reference pictures, a start picture becomes one of them. */
  #passOn(): void {
    const { value: picture } = this.startPicture
    if (picture === null || !this.startPicture.element.hidden) return
    this.startPicture.value = null
    this.referencePictures.value = [...this.referencePictures.value, picture]
  }

  /** Adds a word to the end of the prompt, unless the prompt has it. */
  #addWord(word: string): void {
    const text = this.prompt.value.trim()
    if (text.split(',').some((part) => part.trim() === word)) return
    this.prompt.value = text === '' ? word : `${text}, ${word}`
  }

  #toggleSeed(): void {
    const keep = this.#lock.getAttribute('aria-pressed') !== 'true'
    this.#lock.setAttribute('aria-pressed', String(keep))
    const input = this.#numbers.input('seed')
    if (!keep) input.value = ''
    else if (input.value === '') input.value = String(this.#lastSeed ?? Math.floor(Math.random() * 2 ** 32))
    this.#drawSummary()
  }

  /** The text of a field, or else the default of the model. */
  #shown(name: FieldName): string | undefined {
    const written = this.#numbers.input(name).value.trim()
    return written === '' ? this.#default(name) : written
  }

  /** The settings that the model card of a distilled model, or of a LoRA that needs few steps, recommends. */
  get #card(): ModelSettings {
    return settingsFor(this.model.value, this.loras.settings)?.settings ?? {}
  }

  /** What an empty field means: the setting of a distilled model or LoRA, or else the loaded model's default. */
  #default(name: FieldName): string | undefined {
    const { fromImage, ...fromText } = this.#info?.defaults ?? {}
    const own = this.startPicture.value === null ? undefined : fromImage
    const defaults: Partial<Record<FieldName, number | undefined>> = { ...fromText, ...own, ...this.#card }
    return defaults[name]?.toString()
  }

  /** Shows what empty fields mean. */
  #drawDefaults(): void {
    for (const name of ['width', 'height', 'numInferenceSteps', 'guidanceScale', 'eta'] as const) {
      this.#numbers.input(name).placeholder = this.#default(name) ?? (name === 'eta' ? '0' : 'auto')
    }
    this.#scheduler.showDefaults(this.#card)
    const published = settingsFor(this.model.value, this.loras.settings)
    setText(this.#published, published === undefined ? '' : settingsNote(published))
    this.#published.hidden = published === undefined
  }

  /** Writes the settings in one line, which is visible while the section is closed. */
  #drawSummary(): void {
    this.#drawDefaults()
    this.#showGuidance()
    const [width, height, steps, guidance, seed] = (
      ['width', 'height', 'numInferenceSteps', 'guidanceScale', 'seed'] as const
    ).map((name) => this.#shown(name))
    this.startPicture.resultSize = this.size
    const parts = [
      width !== undefined && height !== undefined ? `${width} × ${height}` : '',
      steps === undefined ? '' : `${steps} steps`,
      !this.#guides ? 'no guidance' : guidance === undefined ? '' : `guidance ${guidance}`,
      seed === undefined ? '' : `seed ${seed}`,
    ]
    // A line may break only between two settings.
    const unbroken = parts.filter((part) => part !== '').map((part) => part.replaceAll(' ', '\u00a0'))
    setText(this.#summary, unbroken.join(' · '))
  }
}
