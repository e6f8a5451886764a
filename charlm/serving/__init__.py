"""An HTTP server for models: OpenAI's form of completions, charlm's own endpoints, and a page.

Needs starlette and uvicorn: pip install "charlm[serve]".
"""
