"""The torture of moves: tables go there and back while all that can die, dies."""
