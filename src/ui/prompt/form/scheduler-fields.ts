/** The fields for the scheduler: its class and, behind a summary that opens them, the values of its config. */

import { h, setText } from '../../parts/dom.js'
import {
  asChoice,
  choiceLabel,
  choiceNames,
  schedulerChoices,
  schedulerNames,
  type ChoiceName,
  type SchedulerSettings,
} from '../../parts/scheduler-settings.js'

const none = 'Model default'

function select(id: string, values: Readonly<Record<string, string>>): HTMLSelectElement {
  const options = Object.entries(values).map(([value, label]) => h('option', { value }, label))
  return h('select', { id }, h('option', { value: '' }, none), ...options)
}

function row(field: HTMLSelectElement, label: string): HTMLElement {
  return h('div', { class: 'field' }, h('label', { for: field.id }, label), field)
}

function showDefault(field: HTMLSelectElement, label: string | undefined): void {
  const [first] = field.options
  if (first !== undefined) setText(first, label === undefined ? none : `Default: ${label}`)
}

/** The fields. */
export class SchedulerFields {
  /** The field with the class. */
  readonly row: HTMLElement
  /** The other fields. */
  readonly more: HTMLElement
  readonly #scheduler = select('scheduler', schedulerNames)
  readonly #choices = new Map<ChoiceName, HTMLSelectElement>(
    choiceNames.map((name) => {
      const { query, values } = schedulerChoices[name]
      return [name, select(query, values)]
    }),
  )

  /** `others`: further rows that belong to the scheduler. */
  constructor(...others: readonly HTMLElement[]) {
    this.row = row(this.#scheduler, 'Scheduler')
    const choices = [...this.#choices].map(([name, field]) => row(field, schedulerChoices[name].label))
    this.more = h(
      'details',
      { class: 'more' },
      h('summary', {}, 'More about the scheduler'),
      h('div', { class: 'grid' }, ...choices, ...others),
    )
  }

  /** The settings that are chosen. */
  get value(): SchedulerSettings {
    const chosen = [...this.#choices].flatMap(([name, field]) => {
      const value = asChoice(name, field.value)
      return value === undefined ? [] : [[name, value] as const]
    })
    const scheduler = this.#scheduler.value
    return { ...(scheduler === '' ? {} : { scheduler }), ...Object.fromEntries(chosen) }
  }

  /** Writes the settings that `settings` holds; `undefined` clears a field. */
  write(settings: SchedulerSettings): void {
    if ('scheduler' in settings) this.#scheduler.value = settings.scheduler ?? ''
    for (const [name, field] of this.#choices) if (name in settings) field.value = settings[name] ?? ''
  }

  /** Shows which values are used for the fields that the user leaves at their default. */
  showDefaults({ scheduler, ...config }: SchedulerSettings): void {
    showDefault(this.#scheduler, scheduler === undefined ? undefined : (schedulerNames[scheduler] ?? scheduler))
    for (const [name, field] of this.#choices) {
      const value = config[name]
      showDefault(field, value === undefined ? undefined : choiceLabel(name, value))
    }
  }
}
