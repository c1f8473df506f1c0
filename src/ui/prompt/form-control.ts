/** Makes an element a form control like `<input>`: the members that every form control of HTML has, based on ElementInternals. */

/** The base class of `<aquatint-prompt>`: a form control whose value is a PNG file. */
export abstract class FormControl extends HTMLElement {
  /** Tells the browser that the element takes part in forms. */
  static readonly formAssociated = true

  readonly #internals = this.attachInternals()
  #value: File | null = null

  /** The first picture of the last generation, as a PNG file that contains its settings. A form submits it under `name`. */
  get value(): File | null {
    return this.#value
  }

  /** The form that the element belongs to. */
  get form(): HTMLFormElement | null {
    return this.#internals.form
  }

  /** The name under which a form submits the picture. */
  get name(): string {
    return this.getAttribute('name') ?? ''
  }
  set name(name: string) {
    this.setAttribute('name', name)
  }

  /** Always `aquatint-prompt`. */
  get type(): string {
    return this.localName
  }

  /** Whether every field and button is disabled. Disabling cancels the running load or generation. */
  get disabled(): boolean {
    return this.hasAttribute('disabled')
  }
  set disabled(disabled: boolean) {
    this.toggleAttribute('disabled', disabled)
  }

  /** Whether a form can be submitted only after a picture was made. */
  get required(): boolean {
    return this.hasAttribute('required')
  }
  set required(required: boolean) {
    this.toggleAttribute('required', required)
    this.#validate()
  }

  /** As on every form control: `valueMissing` if a picture is required and none was made. */
  get validity(): ValidityState {
    return this.#internals.validity
  }

  /** What is missing, in words; empty if nothing is. */
  get validationMessage(): string {
    return this.#internals.validationMessage
  }

  /** Whether a form validates the element. */
  get willValidate(): boolean {
    return this.#internals.willValidate
  }

  /** Whether the element is valid; fires `invalid` if it is not. */
  checkValidity(): boolean {
    return this.#internals.checkValidity()
  }

  /** As `checkValidity`, and shows the message to the user. */
  reportValidity(): boolean {
    return this.#internals.reportValidity()
  }

  connectedCallback(): void {
    this.#validate()
  }

  /** Sets the file that `control` submits, and the text from which the browser restores the control after a navigation. */
  // Static, because a protected method would still be visible on the element.
  protected static submit(control: FormControl, value: File | null, state: string | null): void {
    control.#value = value
    control.#internals.setFormValue(value, state)
    control.#validate()
  }

  #validate(): void {
    if (!this.required || this.#value !== null) return this.#internals.setValidity({})
    const prompt = this.shadowRoot?.querySelector('textarea') ?? undefined
    this.#internals.setValidity({ valueMissing: true }, 'Generate a picture first.', prompt)
  }
}
