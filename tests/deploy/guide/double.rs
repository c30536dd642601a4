//! A model server in place of OpenAI.

/// Answers each request on port 7000; `/last` gives the body of the last one.
pub(super) const SCRIPT: &str = r#"
import http.server, json
last = b"{}"
class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_): pass
    def answer(self, body):
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_GET(self): self.answer(last)
    def do_POST(self):
        global last
        last = self.rfile.read(int(self.headers["Content-Length"]))
        message = {"role": "assistant", "content": "The double answers."}
        self.answer(json.dumps({
            "id": "1", "object": "chat.completion", "created": 1, "model": "gpt-3.5-turbo",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 3, "total_tokens": 4},
        }).encode())
http.server.ThreadingHTTPServer(("127.0.0.1", 7000), Handler).serve_forever()
"#;
