/** A text with the line ends that it was written with: a checkout on Windows may have put others in their place. */
export const unixLines = (text: string): string => text.replaceAll("\r\n", "\n");
