/** The controls of a page that are too small for a finger: WCAG 2.2's success criterion 2.5.5 asks for 44 × 44 CSS pixels. */

import type { Page } from '@playwright/test'

/**
 * The visible controls, in the page and in shadow roots, whose target is smaller than 44 × 44 pixels, with their sizes. The labels of a control
 * belong to its target. A link in a sentence is excepted, as in WCAG. With an open dialog, only the dialog can be pressed.
 */
export function smallTargets(page: Page): Promise<readonly string[]> {
  return page.evaluate(() => {
    const controls = 'a[href], button, input:not([type=hidden]), select, textarea, summary, [role=button], [tabindex="0"]'
    const elements = (root: Document | ShadowRoot | Element): HTMLElement[] => {
      const own = Array.from(root.querySelectorAll<HTMLElement>('*'))
      return own.concat(own.flatMap(({ shadowRoot }) => (shadowRoot === null ? [] : elements(shadowRoot))))
    }
    const open = document.querySelector('dialog:modal')
    return elements(open ?? document)
      .filter((element) => {
        const isAlone = (element.parentElement?.textContent ?? '').trim() === (element.textContent ?? '').trim()
        const inSentence = element.matches('a') && getComputedStyle(element).display === 'inline' && !isAlone
        return element.matches(controls) && !inSentence
      })
      .flatMap((element) => {
        const labels = 'labels' in element ? Array.from((element as HTMLInputElement).labels ?? []) : []
        const parts = [element, ...labels].filter((part) => part.checkVisibility({ checkVisibilityCSS: true }))
        const boxes = parts.map((part) => part.getBoundingClientRect()).filter(({ width, height }) => width > 1 && height > 1)
        if (boxes.length === 0) return []
        const width = Math.max(...boxes.map(({ right }) => right)) - Math.min(...boxes.map(({ left }) => left))
        const height = Math.max(...boxes.map(({ bottom }) => bottom)) - Math.min(...boxes.map(({ top }) => top))
        if (width >= 43.9 && height >= 43.9) return []
        const name =
          element.getAttribute('aria-label') ?? (element.textContent?.trim() || labels[0]?.textContent?.trim() || element.id)
        return [`${element.localName} “${name}”: ${Math.round(width)} × ${Math.round(height)}`]
      })
  })
}
