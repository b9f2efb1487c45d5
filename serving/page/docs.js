// Renders /docs.json with the Swagger UI that BentoML contains. Its validator, an external site, is off.
SwaggerUIBundle({ url: "docs.json", dom_id: "#docs", deepLinking: true, validatorUrl: null });
