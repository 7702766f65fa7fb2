// quote writes a text as JSON.
export function quote(s: string): string {
  let out = '"';
  for (let i = 0; i < s.length; i++) {
    const c = s.charCodeAt(i);
    if (c < 32) out += "\\u00" + (c < 16 ? "0" : "") + c.toString(16);
    else if (c == 34 || c == 92) out += "\\" + s.charAt(i);
    else out += s.charAt(i);
  }
  return out + '"';
}
