/** Lets what makes room for something new glide to its new place, instead of jumping there. */

const options = { duration: 320, easing: 'cubic-bezier(0.2, 0, 0, 1)' } as const

/** Runs `change`, then moves the children that were there from where they stood. Not where the reader asked for less motion. */
export function glideAside(list: HTMLElement, change: () => void): void {
  const before = [...list.children].map((child) => ({ child, box: child.getBoundingClientRect() }))
  change()
  if (matchMedia('(prefers-reduced-motion: reduce)').matches) return
  for (const { child, box } of before) {
    const now = child.getBoundingClientRect()
    if (now.left === box.left && now.top === box.top) continue
    child.animate([{ translate: `${box.left - now.left}px ${box.top - now.top}px` }, { translate: 'none' }], options)
  }
}
