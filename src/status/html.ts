/** Text that is HTML already. */
export class Html {
  readonly #text: string

  private constructor(text: string) {
    this.#text = text
  }

  /** Joins what is HTML with values, which are escaped: in text and in quoted attributes alike. */
  static of(this: void, strings: TemplateStringsArray, ...values: readonly HtmlValue[]): Html {
    const parts = strings.flatMap((text, index) =>
      index < values.length ? [text, render(values[index])] : [text],
    )
    return new Html(parts.join(''))
  }

  /** @param text a constant of ours, never a value */
  static constant(text: string): Html {
    return new Html(text)
  }

  toString(): string {
    return this.#text
  }
}

export type HtmlValue = string | number | false | undefined | Html | readonly Html[]

/** A template tag: whatever stands in `${}` is escaped unless it is HTML already. */
export const html = Html.of

function render(value: HtmlValue): string {
  if (value === undefined || value === false) return ''
  if (value instanceof Html) return value.toString()
  if (typeof value === 'object') return value.join('')
  return escape(String(value))
}

function escape(text: string): string {
  return text.replaceAll(/[&<>"'`]/g, (character) => `&#${character.charCodeAt(0)};`)
}
