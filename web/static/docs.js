// Shows /openapi.json with Swagger UI.
"use strict";

SwaggerUIBundle({
  url: document.getElementById("docs").dataset.openapi,
  dom_id: "#docs",
  deepLinking: true,
  displayRequestDuration: true,
});
