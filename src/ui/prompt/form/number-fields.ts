/** The number fields of a prompt box. Each is checked when the user leaves it; a marked field is checked again with each change. */

import { isAquatintError } from '../../../index.js'
import { h, setText } from '../../parts/dom.js'
import { numberNames, numberRules, parseNumber, type NumberName, type PromptSettings } from '../../parts/settings.js'

/** The numbers that have a text field; the strength has a slider. */
export type FieldName = Exclude<NumberName, 'strength'>

/** The names of the fields, in display order. */
export const fieldNames = numberNames.filter((name): name is FieldName => name !== 'strength')

interface NumberField {
  readonly input: HTMLInputElement
  readonly error: HTMLElement
}

/** A field with an invalid value. */
export interface InvalidField {
  readonly name: FieldName
  /** The text in the field. */
  readonly value: string
  /** What is wrong, a sentence that names the field. */
  readonly problem: string
}

/** The fields: their inputs, values and marks. */
export class NumberFields {
  readonly #fields: Readonly<Record<FieldName, NumberField>>

  constructor() {
    this.#fields = {
      width: this.#field('width'),
      height: this.#field('height'),
      numInferenceSteps: this.#field('numInferenceSteps'),
      guidanceScale: this.#field('guidanceScale'),
      trueCfgScale: this.#field('trueCfgScale'),
      seed: this.#field('seed'),
      numImagesPerPrompt: this.#field('numImagesPerPrompt'),
      clipSkip: this.#field('clipSkip'),
      eta: this.#field('eta'),
    }
    this.#fields.seed.input.placeholder = 'random'
    this.#fields.numImagesPerPrompt.input.placeholder = '1'
    this.#fields.clipSkip.input.placeholder = 'none'
    this.#fields.trueCfgScale.input.placeholder = 'off'
  }

  /** The input of a number. */
  input(name: FieldName): HTMLInputElement {
    return this.#fields[name].input
  }

  /** The label, the input with `more` elements beside it, and the place for its problem. */
  row(name: FieldName, ...more: readonly HTMLElement[]): HTMLElement {
    const { input, error } = this.#fields[name]
    const control = more.length === 0 ? input : h('div', { class: 'with-button' }, input, ...more)
    return h('div', { class: `field ${name}` }, h('label', { for: input.id }, numberRules[name].label), control, error)
  }

  /** The valid numbers of the fields that are not empty. */
  values(): Partial<Record<FieldName, number>> {
    const numbers: Partial<Record<FieldName, number>> = {}
    for (const name of fieldNames) {
      const parsed = parseNumber(name, this.input(name).value)
      if ('value' in parsed && parsed.value !== undefined) numbers[name] = parsed.value
    }
    return numbers
  }

  /** The fields with invalid values, in display order. */
  invalid(): readonly InvalidField[] {
    return fieldNames.flatMap((name) => {
      const { value } = this.input(name)
      const parsed = parseNumber(name, value)
      return 'error' in parsed ? [{ name, value, problem: parsed.error }] : []
    })
  }

  /** Writes the numbers that `settings` holds; `undefined` clears a field. */
  write(settings: Partial<PromptSettings>): void {
    for (const name of fieldNames) {
      if (!(name in settings)) continue
      this.input(name).value = settings[name]?.toString() ?? ''
      this.check(name)
    }
  }

  /** Marks a field, or removes the mark of one that is valid. */
  check(name: FieldName): void {
    const parsed = parseNumber(name, this.input(name).value)
    this.#mark(name, 'error' in parsed ? parsed.error : '')
  }

  /** Marks the fields that an error of the library is about: those whose names are keys of the error's details. */
  markFor(error: unknown): void {
    if (!isAquatintError(error)) return
    for (const name of fieldNames) if (Object.hasOwn(error.details, name)) this.#mark(name, error.message)
  }

  #mark(name: FieldName, problem: string): void {
    const { input, error } = this.#fields[name]
    setText(error, problem)
    error.hidden = problem === ''
    input.setAttribute('aria-invalid', String(problem !== ''))
  }

  #field(name: FieldName): NumberField {
    const id = numberRules[name].query
    const input = h('input', {
      id,
      type: 'text',
      inputmode: ['guidanceScale', 'trueCfgScale', 'eta'].includes(name) ? 'decimal' : 'numeric',
      placeholder: 'auto',
      autocomplete: 'off',
      'aria-describedby': `${id}-error`,
    })
    const error = h('p', { class: 'field-error', id: `${id}-error` })
    error.hidden = true
    input.addEventListener('focusout', () => this.check(name))
    input.addEventListener('input', () => {
      if (input.getAttribute('aria-invalid') === 'true') this.check(name)
    })
    return { input, error }
  }
}
