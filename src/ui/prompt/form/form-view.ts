/** The fields of a prompt box: reads them as settings, and shows what is wrong next to the field. */

import type { PipelineInfo } from '../../../index.js'
import { h, setText } from '../../parts/dom.js'
import { ModelField } from './model-field.js'
import { StartPicture } from './start-picture.js'
import {
  asDType,
  dtypeNames,
  numberNames,
  numberRules,
  parseNumber,
  schedulerNames,
  type NumberName,
  type PromptSettings,
} from '../../parts/settings.js'

/** The numbers that have a text field; the strength has a slider. */
type FieldName = Exclude<NumberName, 'strength'>
const fieldNames = numberNames.filter((name): name is FieldName => name !== 'strength')

interface NumberField {
  readonly input: HTMLInputElement
  readonly error: HTMLElement
}

/** What a form reports when the user changes something. */
export interface FormListeners {
  /** Any field changed. */
  readonly onEdit: () => void
  /** Another model was chosen. */
  readonly onModelChange: () => void
  /** Another type of weights was chosen. */
  readonly onDTypeChange: () => void
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
  // No submit button: a frame that is sandboxed without `allow-forms` blocks the submission of forms, without an event.
  readonly run = h('button', { type: 'button', class: 'primary', part: 'run' }, 'Generate')
  readonly cancel = h('button', { type: 'button', part: 'cancel' }, 'Cancel')
  readonly startPicture: StartPicture
  readonly #numbers: Readonly<Record<FieldName, NumberField>>
  readonly #scheduler = h('select', { id: 'scheduler' }, h('option', { value: '' }, 'Model default'))
  readonly #dtype = h('select', { id: 'dtype' }, h('option', { value: '' }, 'As published'))
  readonly #lock = h(
    'button',
    { type: 'button', class: 'quiet', 'aria-pressed': 'false', title: 'Use the same seed for the next pictures' },
    'Keep',
  )
  readonly #summary = h('span', { class: 'summary-text' })
  readonly #settings: HTMLDetailsElement
  #info: PipelineInfo | undefined
  #lastSeed: number | undefined

  constructor({ onEdit, onModelChange, onDTypeChange }: FormListeners) {
    this.model = new ModelField(onModelChange)
    this.startPicture = new StartPicture(onEdit)
    this.#numbers = {
      width: numberField('width'),
      height: numberField('height'),
      numInferenceSteps: numberField('numInferenceSteps'),
      guidanceScale: numberField('guidanceScale'),
      seed: numberField('seed'),
      numImagesPerPrompt: numberField('numImagesPerPrompt'),
    }
    this.#numbers.seed.input.placeholder = 'random'
    this.#numbers.numImagesPerPrompt.input.placeholder = '1'
    for (const [name, label] of Object.entries(schedulerNames)) this.#scheduler.append(h('option', { value: name }, label))
    for (const [name, label] of Object.entries(dtypeNames)) this.#dtype.append(h('option', { value: name }, label))
    this.#dtype.addEventListener('change', onDTypeChange)
    this.#lock.addEventListener('click', () => this.#toggleSeed())
    this.#settings = h(
      'details',
      { class: 'settings', part: 'settings' },
      h('summary', {}, h('span', { class: 'summary-title' }, 'Settings'), this.#summary),
      h(
        'div',
        { class: 'grid' },
        ...(['width', 'height', 'numInferenceSteps', 'guidanceScale'] as const).map((name) => this.#row(name)),
        this.#row('seed', this.#lock),
        h('div', { class: 'field' }, h('label', { for: 'scheduler' }, 'Scheduler'), this.#scheduler),
        this.#row('numImagesPerPrompt'),
        h('div', { class: 'field' }, h('label', { for: 'dtype' }, 'Weights'), this.#dtype),
        h('slot', { name: 'settings' }),
      ),
    )
    this.element = h(
      'form',
      { part: 'form', novalidate: true },
      h('slot', { name: 'header' }),
      h('div', { class: 'field' }, h('label', { for: 'prompt' }, 'Prompt'), this.prompt),
      h('div', { class: 'field' }, h('label', { for: 'negative' }, 'Negative prompt'), this.negativePrompt),
      this.startPicture.element,
      h('slot', { name: 'inputs' }),
      this.model.element,
      this.#settings,
      h('div', { class: 'buttons' }, this.run, this.cancel, h('slot', { name: 'actions' })),
    )
    this.element.addEventListener('input', () => {
      this.#drawSummary()
      onEdit()
    })
    this.#drawSummary()
  }

  /** The settings in the fields, or undefined if one is invalid. With `tell`, the invalid field shows the reason and gets the focus. */
  read(tell = false): PromptSettings | undefined {
    const numbers: Partial<Record<NumberName, number>> = {}
    let wrong: HTMLInputElement | undefined
    for (const name of fieldNames) {
      const { input, error } = this.#numbers[name]
      const parsed = parseNumber(name, input.value)
      const problem = 'error' in parsed ? parsed.error : ''
      if (tell || problem === '') {
        setText(error, problem)
        error.hidden = problem === ''
        input.setAttribute('aria-invalid', String(problem !== ''))
      }
      if ('error' in parsed) wrong ??= input
      else if (parsed.value !== undefined) numbers[name] = parsed.value
    }
    if (wrong !== undefined) {
      if (tell) {
        this.#settings.open = true
        wrong.focus()
      }
      return undefined
    }
    const negative = this.negativePrompt.value
    const { strength } = this.startPicture
    return {
      model: this.model.value,
      ...this.weights,
      prompt: this.prompt.value,
      ...(negative === '' ? {} : { negativePrompt: negative }),
      ...numbers,
      ...(this.#scheduler.value === '' ? {} : { scheduler: this.#scheduler.value }),
      ...(strength === undefined ? {} : { strength }),
    }
  }

  /** The chosen type of the weights, if any. */
  get weights(): Pick<PromptSettings, 'dtype'> {
    const dtype = asDType(this.#dtype.value)
    return dtype === undefined ? {} : { dtype }
  }

  /** Writes settings into the fields: `undefined` clears a field, and a setting that is absent leaves it. */
  write(settings: Partial<PromptSettings>): void {
    if (settings.prompt !== undefined) this.prompt.value = settings.prompt
    if ('negativePrompt' in settings) this.negativePrompt.value = settings.negativePrompt ?? ''
    if (settings.model !== undefined) this.model.value = settings.model
    for (const name of fieldNames) {
      if (name in settings) this.#numbers[name].input.value = settings[name]?.toString() ?? ''
    }
    if ('strength' in settings) this.startPicture.strength = settings.strength
    if ('dtype' in settings) this.#dtype.value = settings.dtype ?? ''
    if ('scheduler' in settings) this.#scheduler.value = settings.scheduler ?? ''
    if ('seed' in settings) this.#lock.setAttribute('aria-pressed', String(settings.seed !== undefined))
    this.#drawSummary()
  }

  /** Shows the defaults of the loaded model in the empty fields. */
  setDefaults(info: PipelineInfo | undefined): void {
    this.#info = info
    this.startPicture.supported = info?.imageToImage ?? true
    for (const name of ['width', 'height', 'numInferenceSteps', 'guidanceScale'] as const) {
      this.#numbers[name].input.placeholder = info?.defaults[name].toString() ?? 'auto'
    }
    this.#drawSummary()
  }

  /** The seed of the last run, for the button that keeps it. */
  setLastSeed(seed: number): void {
    this.#lastSeed = seed
    if (this.#lock.getAttribute('aria-pressed') === 'false') this.#numbers.seed.input.placeholder = `random (last: ${seed})`
  }

  /** Shows Cancel while `busy`, and hides Generate while pictures are `wanted`. While only a model loads, Generate stays available. */
  setBusy(busy: boolean, wanted: boolean): void {
    // The focus would be lost with the button that is hidden.
    const root = this.element.getRootNode()
    const focused = root instanceof ShadowRoot ? root.activeElement : null
    this.cancel.hidden = !busy
    this.run.hidden = busy && wanted
    if (this.run.hidden && focused === this.run) this.cancel.focus()
    if (!busy && focused === this.cancel) this.run.focus()
  }

  set disabled(disabled: boolean) {
    for (const field of this.element.querySelectorAll<HTMLInputElement>('input, textarea, select, button'))
      field.disabled = disabled
  }

  #row(name: FieldName, ...more: HTMLElement[]): HTMLElement {
    const { input, error } = this.#numbers[name]
    const control = more.length === 0 ? input : h('div', { class: 'with-button' }, input, ...more)
    return h('div', { class: `field ${name}` }, h('label', { for: input.id }, numberRules[name].label), control, error)
  }

  #toggleSeed(): void {
    const keep = this.#lock.getAttribute('aria-pressed') !== 'true'
    this.#lock.setAttribute('aria-pressed', String(keep))
    const { input } = this.#numbers.seed
    if (!keep) input.value = ''
    else if (input.value === '') input.value = String(this.#lastSeed ?? Math.floor(Math.random() * 2 ** 32))
    this.#drawSummary()
  }

  /** Writes the settings in one line, visible while the section is closed. */
  #drawSummary(): void {
    const shown = (name: FieldName) => {
      const written = this.#numbers[name].input.value.trim()
      if (written !== '') return written
      const defaults: Partial<Record<FieldName, number>> = this.#info?.defaults ?? {}
      return defaults[name]?.toString()
    }
    const [width, height, steps, guidance, seed] = (
      ['width', 'height', 'numInferenceSteps', 'guidanceScale', 'seed'] as const
    ).map(shown)
    const parts = [
      width !== undefined && height !== undefined ? `${width} × ${height}` : '',
      steps === undefined ? '' : `${steps} steps`,
      guidance === undefined ? '' : `guidance ${guidance}`,
      seed === undefined ? '' : `seed ${seed}`,
    ]
    setText(this.#summary, parts.filter((part) => part !== '').join(' · '))
  }
}

function numberField(name: FieldName): NumberField {
  const id = numberRules[name].query
  const input = h('input', {
    id,
    type: 'text',
    inputmode: name === 'guidanceScale' ? 'decimal' : 'numeric',
    placeholder: 'auto',
    autocomplete: 'off',
    'aria-describedby': `${id}-error`,
  })
  const error = h('p', { class: 'field-error', id: `${id}-error` })
  error.hidden = true
  return { input, error }
}
