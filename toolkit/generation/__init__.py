"""Text in, text out: sessions, tokenizer, templates, chat, sampling."""
